//! `GET /buildid/ID/debuginfo`: debug information as debuginfod serves it, so that debuggers find it by themselves.
//!
//! Everything else that debuginfod knows — sources, executables, sections — is answered with "not found": a debugger then
//! does without, or takes it out of the debug information.

use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::answer::answer;
use super::body::AnswerBody;
use super::site::facts_of;
use super::{response, short};
use crate::builds::checked_build_id;
use crate::publisher::{DebugInfo, Publisher};

/// Length of the file, for the progress that clients show.
const SIZE: HeaderName = HeaderName::from_static("x-debuginfod-size");
/// Where the package installs it.
const FILE: HeaderName = HeaderName::from_static("x-debuginfod-file");
/// The package.
const ARCHIVE: HeaderName = HeaderName::from_static("x-debuginfod-archive");

/// The build id of a path that asks for debug information.
pub(super) fn build_id_in(path: &str) -> Option<String> {
    checked_build_id(path.strip_prefix("/buildid/")?.strip_suffix("/debuginfo")?)
}

pub(super) async fn respond(
    request: &Request<Incoming>,
    publisher: &Publisher,
    build_id: &str,
) -> Response<AnswerBody> {
    let method = request.method();
    let not_found =
        || short(StatusCode::NOT_FOUND, "there is no debug information of this build id\n", method);
    let failed =
        || short(StatusCode::INTERNAL_SERVER_ERROR, "the debug information cannot be read\n", method);
    let info = match publisher.debug_info(build_id).await {
        Ok(Some(info)) => info,
        Ok(None) => return not_found(),
        Err(error) => {
            tracing::warn!(build_id, error = %fault::chain(&error).join(": "), "cannot serve debug information");
            return failed();
        }
    };
    let DebugInfo { path, package, target } = info;
    // Made room for another one meanwhile: whoever asks again gets it.
    let Some((file, facts)) = fs_err::File::open(&path).ok().and_then(|file| facts_of(file.into_file()))
    else {
        return failed();
    };
    // What stays for ever is answered without a word on pointers.
    let mut head = answer(method, request.headers(), &facts, "");
    for (name, value) in [(SIZE, facts.size_bytes.to_string()), (FILE, target), (ARCHIVE, package)] {
        // A path that no header can hold is of no use to anybody.
        if let Ok(value) = HeaderValue::from_str(&value) {
            head.headers.insert(name, value);
        }
    }
    let body = match head.body {
        None => AnswerBody::empty(),
        Some(range) => match AnswerBody::file(file, range).await {
            Ok(body) => body,
            Err(_) => return failed(),
        },
    };
    response(head.status, head.headers, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_build_id_is_looked_up() {
        assert_eq!(build_id_in("/buildid/abcdef0123/debuginfo").as_deref(), Some("abcdef0123"));
        for path in [
            "/buildid/ABCDEF/debuginfo",
            "/buildid/../../x/debuginfo",
            "/buildid//debuginfo",
            "/buildid/abc/debuginfo",
            "/buildid/abcd/executable",
            "/buildid/abcd/source/usr/src/a.c",
            "/buildid/abcd/debuginfo/",
            "/main/abcd/debuginfo",
        ] {
            assert_eq!(build_id_in(path), None, "{path}");
        }
    }
}
