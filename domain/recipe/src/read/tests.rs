use super::*;
use crate::model::Upstream;

const HEAD: &str = "name: demo\nversion: \"1.0\"\nrelease: 2\nhomepage: https://x\nlicense: MIT\n";

fn recipe(rest: &str) -> Parsed {
    parse("stone.yaml", &format!("{HEAD}{rest}")).unwrap_or_else(|error| panic!("{error}"))
}
