//! What an operation of the API is: its place, what it needs of whoever asks, what it takes and gives, who answers.

use axum::handler::Handler;
use axum::routing::{MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use access::Action;

use super::Web;

/// How a shape is described, once somebody wants to know.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// The methods that operations have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Delete,
}

impl Method {
    /// As OpenAPI writes it.
    pub(crate) fn keyword(self) -> &'static str {
        match self {
            Method::Get => "get",
            Method::Post => "post",
            Method::Delete => "delete",
        }
    }

    fn filter(self) -> axum::routing::MethodFilter {
        match self {
            Method::Get => axum::routing::MethodFilter::GET,
            Method::Post => axum::routing::MethodFilter::POST,
            Method::Delete => axum::routing::MethodFilter::DELETE,
        }
    }
}

/// What is given when all is well.
#[derive(Clone, Copy)]
pub(crate) enum Gives {
    /// JSON of this shape, with this status.
    Json(u16, Shape),
    /// Anything else, of this media type.
    Other(&'static str),
}

/// One operation.
pub(crate) struct Operation {
    pub(crate) method: Method,
    /// As axum and OpenAPI both write it: `/api/tasks/{id}`.
    pub(crate) path: &'static str,
    /// What client libraries call it; also its label in the metrics.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) action: Action,
    pub(crate) query: Option<Shape>,
    pub(crate) takes: Option<Shape>,
    /// A body that it would take.
    pub(crate) example: Option<&'static str>,
    pub(crate) gives: Gives,
    pub(crate) description: &'static str,
    /// Whether it may answer 202 before it is done.
    pub(crate) may_take_longer: bool,
    pub(crate) handler: MethodRouter<Web>,
}

impl Operation {
    fn new<H, T>(
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        action: Action,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Web>,
        T: 'static,
    {
        Self {
            method,
            path,
            id,
            summary,
            action,
            query: None,
            takes: None,
            example: None,
            gives: Gives::Other("text/plain"),
            description: "",
            may_take_longer: false,
            handler: on(method.filter(), handler),
        }
    }

    /// Its query is a `Q`.
    pub(crate) fn query<Q: JsonSchema>(mut self) -> Self {
        self.query = Some(Q::json_schema);
        self
    }

    /// Its body is the JSON of a `T`, such as `example`.
    pub(crate) fn takes<T: JsonSchema>(mut self, example: &'static str) -> Self {
        self.takes = Some(SchemaGenerator::subschema_for::<T>);
        self.example = Some(example);
        self
    }

    /// It gives the JSON of a `T`.
    pub(crate) fn gives<T: JsonSchema>(self) -> Self {
        self.gives_with::<T>(200)
    }

    /// It gives the JSON of a `T` with this status.
    pub(crate) fn gives_with<T: JsonSchema>(mut self, status: u16) -> Self {
        self.gives = Gives::Json(status, SchemaGenerator::subschema_for::<T>);
        self
    }

    /// It gives something of this media type that is no JSON of ours.
    pub(crate) fn gives_other(mut self, media_type: &'static str) -> Self {
        self.gives = Gives::Other(media_type);
        self
    }

    /// It may answer 202 with the same shape before it is done.
    pub(crate) fn may_take_longer(mut self) -> Self {
        self.may_take_longer = true;
        self
    }

    /// What there is to say beyond the summary.
    pub(crate) fn described(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Names in braces in its path.
    pub(crate) fn path_parameters(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
    }
}

/// An operation that changes nothing.
pub(crate) fn get<H, T>(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    action: Action,
    handler: H,
) -> Operation
where
    H: Handler<T, Web>,
    T: 'static,
{
    Operation::new(Method::Get, path, id, summary, action, handler)
}

/// An operation that makes something happen.
pub(crate) fn post<H, T>(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    action: Action,
    handler: H,
) -> Operation
where
    H: Handler<T, Web>,
    T: 'static,
{
    Operation::new(Method::Post, path, id, summary, action, handler)
}

/// An operation that takes something away.
pub(crate) fn delete<H, T>(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    action: Action,
    handler: H,
) -> Operation
where
    H: Handler<T, Web>,
    T: 'static,
{
    Operation::new(Method::Delete, path, id, summary, action, handler)
}
