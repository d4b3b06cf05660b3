//! What a request is answered with, without I/O.

use serde_json::{Value, json};

/// Plain text.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// The text format of Prometheus.
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// JSON.
const JSON: &str = "application/json";

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reply {
    /// The status code of HTTP.
    pub(crate) status: u16,
    /// The type of the body.
    pub(crate) content_type: &'static str,
    /// The body.
    pub(crate) body: String,
}

impl Reply {
    /// 200 with JSON.
    pub(super) fn json(value: &Value) -> Self {
        Self {
            status: 200,
            content_type: JSON,
            body: value.to_string(),
        }
    }

    /// 200 with text.
    pub(super) fn text(content_type: &'static str, body: String) -> Self {
        Self {
            status: 200,
            content_type,
            body,
        }
    }

    /// 204: done, and nothing to say.
    pub(super) fn done() -> Self {
        Self::text(TEXT, String::new()).with_status(204)
    }

    /// An error as EMQX writes it.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(&json!({"code": code, "message": message})).with_status(status)
    }

    /// 400: the request is wrong.
    pub(super) fn bad_request(message: &str) -> Self {
        Self::error(400, "BAD_REQUEST", message)
    }

    /// 404: there is no such thing.
    pub(super) fn not_found(message: &str) -> Self {
        Self::error(404, "NOT_FOUND", message)
    }

    /// 404: there is no such client.
    pub(super) fn no_client() -> Self {
        Self::error(404, "CLIENTID_NOT_FOUND", "Client ID not found")
    }

    /// 503: it cannot be told now.
    pub(super) fn unavailable(message: &str) -> Self {
        Self::error(503, "SERVICE_UNAVAILABLE", message)
    }

    /// The same with another status.
    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}
