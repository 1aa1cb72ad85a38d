//! How words of the life cycle are described to programs that read them as JSON.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::failure::FailureClass;
use crate::task::Phase;

impl JsonSchema for Phase {
    fn schema_name() -> Cow<'static, str> {
        "Phase".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where a task is in its life.",
            "type": "string",
            "enum": Phase::ALL.map(Phase::keyword).as_slice(),
        })
    }
}

impl JsonSchema for FailureClass {
    fn schema_name() -> Cow<'static, str> {
        "FailureClass".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Why an attempt came to nothing.",
            "type": "string",
            "enum": FailureClass::ALL.map(|class| class.to_string()).as_slice(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_described_as_they_are_written() {
        let phases = serde_json::to_value(schemars::schema_for!(Phase)).unwrap();
        let classes = serde_json::to_value(schemars::schema_for!(FailureClass)).unwrap();
        assert_eq!(phases["enum"], serde_json::to_value(Phase::ALL).unwrap());
        assert_eq!(classes["enum"], serde_json::to_value(FailureClass::ALL).unwrap());
    }
}
