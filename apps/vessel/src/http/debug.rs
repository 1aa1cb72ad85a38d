//! `GET /buildid/ID/debuginfo` and `/executable`: debug information, and the program or library that it is of, as debuginfod serves
//! them, so that debuggers find them by themselves.
//!
//! Everything else that debuginfod knows — sources, sections — is answered with "not found": a debugger then does without, or takes
//! it out of the debug information.

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

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    DebugInfo,
    Executable,
}

/// What a path asks for, and of which build id.
pub(super) fn asked(path: &str) -> Option<(Asked, String)> {
    let (id, kind) = path.strip_prefix("/buildid/")?.split_once('/')?;
    let asked = match kind {
        "debuginfo" => Asked::DebugInfo,
        "executable" => Asked::Executable,
        _ => return None,
    };
    Some((asked, checked_build_id(id)?))
}

pub(super) async fn respond(
    request: &Request<Incoming>,
    publisher: &Publisher,
    asked: Asked,
    build_id: &str,
) -> Response<AnswerBody> {
    let method = request.method();
    let not_found = || short(StatusCode::NOT_FOUND, "there is nothing of this build id\n", method);
    let failed = || short(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be read\n", method);
    let found = match asked {
        Asked::DebugInfo => publisher.debug_info(build_id).await,
        Asked::Executable => publisher.executable(build_id).await,
    };
    let info = match found {
        Ok(Some(info)) => info,
        Ok(None) => return not_found(),
        Err(error) => {
            tracing::warn!(build_id, ?asked, error = %fault::chain(&error).join(": "), "cannot serve what is asked of a build id");
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
        let id = "abcdef0123".to_owned();
        assert_eq!(asked("/buildid/abcdef0123/debuginfo"), Some((Asked::DebugInfo, id.clone())));
        assert_eq!(asked("/buildid/abcdef0123/executable"), Some((Asked::Executable, id)));
        for path in [
            "/buildid/ABCDEF/debuginfo",
            "/buildid/../../x/debuginfo",
            "/buildid//debuginfo",
            "/buildid/abc/debuginfo",
            "/buildid/abcd/section/.text",
            "/buildid/abcd/source/usr/src/a.c",
            "/buildid/abcd/debuginfo/",
            "/main/abcd/debuginfo",
        ] {
            assert_eq!(asked(path), None, "{path}");
        }
    }
}
