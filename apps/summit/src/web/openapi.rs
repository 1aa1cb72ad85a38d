//! `/api/openapi.json`: the API described for programs, as OpenAPI 3.1, out of the one table of operations.

use std::collections::BTreeMap;

use access::Need;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::generate::SchemaSettings;
use schemars::{SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::error::ErrorView;
use super::operation::{Gives, Method, Operation};
use super::routes;

/// Where the shapes lie that others refer to.
const SHAPES: &str = "/components/schemas";

/// The document, as it is served and as `docs/openapi.json` has it.
pub(crate) fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

pub(crate) async fn serve() -> Response {
    static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(text);
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// The whole document.
fn document() -> Value {
    // What is read may leave out what has a default; what is written never does.
    let settings = || {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = SHAPES.into();
        settings.meta_schema = None;
        settings
    };
    let mut written = SchemaGenerator::new(settings().for_serialize());
    let mut read = SchemaGenerator::new(settings().for_deserialize());
    let error = written.subschema_for::<ErrorView>();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in routes::operations() {
        let described = describe(&operation, &mut written, &mut read);
        paths.entry(operation.path).or_default().insert(operation.method.keyword().to_owned(), described);
    }
    let mut shapes = read.take_definitions(true);
    shapes.extend(written.take_definitions(true));
    let problem = |description: &str| json!({ "description": description, "content": { "application/json": { "schema": error } } });
    let problems: Map<String, Value> =
        PROBLEMS.iter().map(|(_, name, description)| ((*name).to_owned(), problem(description))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Summit",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Controller of a build farm. Times are milliseconds since 1970. Every error has the same form: \
                what is wrong, what is behind it, and what to do. Whoever changes something shows a token; `summit token add` makes one.",
            "license": { "name": "MPL-2.0", "identifier": "MPL-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": shapes,
            "responses": problems,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token as `summit token add` shows it once: `moraine_ID_SECRET`.",
                },
            },
        },
    })
}

/// What can go wrong: status, name of the answer, description.
const PROBLEMS: [(&str, &str, &str); 9] = [
    ("400", "BadRequest", "The request cannot be understood; the message says what of it."),
    ("401", "WhoAreYou", "It needs a token that is valid, and none was shown."),
    ("403", "Refused", "The token does not allow it; the message names the scope that would."),
    ("404", "NotFound", "There is no such thing."),
    ("409", "Conflict", "The thing is not in a state in which this can be done; the message says why."),
    ("413", "TooLarge", "The body is larger than any that makes sense."),
    ("429", "TooManyRequests", "There were too many from this address; Retry-After says when to come back."),
    ("502", "Damaged", "Something that Summit depends on gave what cannot be."),
    ("503", "Unavailable", "It cannot be done now; trying again later may help."),
];

fn describe(operation: &Operation, written: &mut SchemaGenerator, read: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = operation.path_parameters().map(path_parameter_value).collect();
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(&query(read).to_value()));
    }
    let changes = operation.method != Method::Get;
    let mut responses = Map::new();
    let (status, answer) = match operation.gives {
        Gives::Json(status, shape) => (status, json!({ "application/json": { "schema": shape(written) } })),
        Gives::Other(media_type) => (200, json!({ media_type: {} })),
    };
    let well = json!({ "description": "All is well.", "content": answer });
    if operation.may_take_longer {
        let mut later = well.clone();
        later["description"] = "It takes longer; the answer says where to look.".into();
        responses.insert("202".into(), later);
    }
    responses.insert(status.to_string(), well);
    let takes_words = !parameters.is_empty() || operation.takes.is_some();
    let has_path = operation.path_parameters().next().is_some();
    let names_something = has_path || operation.query.is_some();
    let is_open = operation.action.need() == Need::Nothing;
    for (status, name, _) in PROBLEMS {
        let can_be = match status {
            "400" => takes_words,
            "401" => true,
            "403" => !is_open,
            "404" => names_something,
            "409" => changes,
            "413" => operation.takes.is_some(),
            _ => true,
        };
        if can_be {
            responses.insert(status.to_owned(), json!({ "$ref": format!("#/components/responses/{name}") }));
        }
    }
    let mut described = Map::new();
    described.insert("operationId".into(), operation.id.into());
    described.insert("summary".into(), operation.summary.into());
    let needs = match operation.action.need() {
        Need::Nothing => "Open to everybody.".to_owned(),
        Need::Sight => "Open to everybody, unless Summit is not public: then it needs a token.".to_owned(),
        Need::Scope(access::Scope::Read) => "Needs a token.".to_owned(),
        Need::Scope(scope) => format!("Needs a token with the scope `{scope}`."),
        Need::Forge => "Needs the secret of the project.".to_owned(),
        Need::Agent | Need::Summit => String::new(),
    };
    let description = [operation.description, &needs].join(" ");
    described.insert("description".into(), description.trim().into());
    if matches!(operation.action.need(), Need::Scope(_)) {
        described.insert("security".into(), json!([{ "token": [] }]));
    }
    if !parameters.is_empty() {
        described.insert("parameters".into(), parameters.into());
    }
    if let Some(takes) = operation.takes {
        let mut content = json!({ "schema": takes(read) });
        let example = operation.example.and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(example) = example {
            content["example"] = example;
        }
        described.insert(
            "requestBody".into(),
            json!({ "required": true, "content": { "application/json": content } }),
        );
    }
    described.insert("responses".into(), responses.into());
    described.into()
}

/// What a name in braces in a path means.
fn path_parameter(name: &str) -> Option<(schemars::Schema, &'static str)> {
    let number =
        || json_schema!({ "type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX });
    let text = || json_schema!({ "type": "string", "minLength": 1 });
    Some(match name {
        "id" => (text(), "The task: its number, or its name, such as nano, nano@x86_64 or project%2Fnano."),
        "builder" => (text(), "The builder: its name or its public key."),
        "channel" => (text(), "Name of the channel."),
        "attempt" => (number(), "Number of the attempt."),
        "token" => (text(), "Name or id of the token."),
        "source" => (text(), "Source name of the recipe."),
        "project" => (text(), "Name of the project."),
        "name" => (text(), "Name of the project."),
        _ => return None,
    })
}

fn path_parameter_value(name: &'static str) -> Value {
    let (schema, description) =
        path_parameter(name).unwrap_or_else(|| (json_schema!({ "type": "string" }), ""));
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
}

/// A parameter for each field of the shape of a query.
fn query_parameters(shape: &Value) -> Vec<Value> {
    let required = shape["required"].as_array().cloned().unwrap_or_default();
    let Some(properties) = shape["properties"].as_object() else { return Vec::new() };
    properties
        .iter()
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            let description = schema["description"].take();
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("description");
            }
            // What is larger is no number to whoever reads it.
            if matches!(schema["format"].as_str(), Some("uint" | "uint64")) {
                schema["maximum"] = u64::MAX.into();
            }
            // Nothing in an address is null; what is not asked for is not there.
            if let Some(kinds) = schema.get_mut("type").and_then(|kinds| kinds.as_array_mut()) {
                kinds.retain(|kind| kind != "null");
                if let [only] = &kinds[..] {
                    schema["type"] = only.clone();
                }
            }
            let required = required.iter().any(|field| field == name.as_str());
            json!({ "name": name, "in": "query", "required": required, "description": description, "schema": schema })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_is_described_and_every_description_has_an_operation() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| (path.clone(), method.clone()))
            })
            .collect();
        let operations = routes::operations();
        let there: BTreeSet<(String, String)> =
            operations.iter().map(|one| (one.path.to_owned(), one.method.keyword().to_owned())).collect();
        assert_eq!(described, there);
        assert_eq!(there.len(), operations.len(), "no operation is there twice");
        let ids: BTreeSet<&str> = operations.iter().map(|one| one.id).collect();
        assert_eq!(ids.len(), operations.len(), "ids are unique");
        for one in &operations {
            assert!(super::super::is_for_programs(one.path), "{}", one.path);
            assert!(!one.summary.is_empty() && !one.summary.ends_with('.'), "{}", one.id);
            for name in one.path_parameters() {
                assert!(path_parameter(name).is_some(), "{name} of {} is not described", one.path);
            }
            if let Some(example) = one.example {
                assert!(serde_json::from_str::<Value>(example).is_ok(), "{example}");
            }
            assert_ne!(one.takes.is_some(), one.example.is_none(), "{} has no example", one.id);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 40, "{}", found.len());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn the_committed_description_is_this_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let committed = fs_err::read_to_string(path).unwrap_or_default();
        assert!(
            committed == text(),
            "run `cargo run -p summit -- openapi > docs/openapi.json`: the API is another one now"
        );
    }
}
