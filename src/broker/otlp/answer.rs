//! The answers of receivers, and their meaning for messages.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use hyper::http::response::Parts;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use prost::Message as _;

use super::retry_after::retry_after;
use crate::broker::link::{Cause, Fault, Reply};
use crate::forward::Message;

/// The answer to one request.
pub(super) struct Answer {
    status: StatusCode,
    text: String,
    wait: Option<Duration>,
    location: Option<String>,
    refused: ExportMetricsPartialSuccess,
}

/// `google.rpc.Status`, the body of errors.
#[derive(prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

/// How much is shown of a text.
const MOST_TEXT: usize = 300;

impl Answer {
    pub(super) fn new(head: &Parts, body: Bytes) -> Self {
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let is_protobuf = text(CONTENT_TYPE).is_some_and(|media_type| media_type.contains("protobuf"));
        let status = head.status;
        // The answer about logs has the same fields.
        let refused =
            ExportMetricsServiceResponse::decode(body.clone()).ok().filter(|_| is_protobuf && status.is_success());
        let refused = refused.and_then(|response| response.partial_success).unwrap_or_default();
        let words = if status.is_success() {
            String::new()
        } else if is_protobuf {
            Status::decode(body).map(|status| status.message).unwrap_or_default()
        } else {
            String::from_utf8_lossy(&body).into_owned()
        };
        Self {
            status,
            text: shown(&words),
            wait: text(RETRY_AFTER).and_then(|wait| retry_after(wait, SystemTime::now())),
            location: text(LOCATION).map(shown),
            refused,
        }
    }

    /// Why the receiver accepts no messages now, by its answer to a request with nothing in it.
    pub(super) fn refuses_connection(&self) -> Option<Cause> {
        match self.status.as_u16() {
            401 | 403 | 429 | 500.. => Some(self.cause()),
            // Others may be meant for requests with nothing in them, or without a path for metrics.
            _ => None,
        }
    }

    /// What became of the message. The error is a connection that counts as broken.
    pub(super) fn reply(&self, message: &Message) -> Result<Reply, Cause> {
        let fault = match self.status.as_u16() {
            200..300 => return Ok(self.accepted(message)),
            400 | 422 => Fault::Message,
            413 => Fault::Size(None),
            408 | 502..=504 => Fault::Server,
            // It may be the message that it cannot stand, or the server: which one is found out as for broken connections.
            500.. => return Err(self.cause()),
            _ => Fault::Place,
        };
        Ok(Reply::Refused(fault, self.cause()))
    }

    fn accepted(&self, message: &Message) -> Reply {
        let words = shown(&self.refused.error_message);
        match u32::try_from(self.refused.rejected_data_points).unwrap_or(u32::MAX) {
            0 if words.is_empty() => Reply::Accepted,
            0 => {
                tracing::warn!(%words, "the receiver accepted a message with a warning");
                Reply::Accepted
            }
            count => {
                let count = count.min(message.samples);
                Reply::Partly(count, format!("rejected {count} of {}: {words}", message.samples).into())
            }
        }
    }

    fn cause(&self) -> Cause {
        let advice = match (self.status.as_u16(), &self.location) {
            (401 | 403, _) => "; give user and password in the URL, or a header (authorization)",
            (404 | 405, _) => "; give the URL without /v1/metrics, with the path before it if there is one",
            (415, _) => "; it may not take gzip: gzip(false)",
            (300..=399, Some(_)) => "; give the URL it redirects to: ",
            _ => "",
        };
        let location = self.location.as_deref().filter(|_| self.status.is_redirection()).unwrap_or_default();
        let separator = if self.text.is_empty() { "" } else { ": " };
        let cause = Cause::from(format!("{}{separator}{}{advice}{location}", self.status, self.text));
        match self.wait.filter(|_| matches!(self.status.as_u16(), 429 | 502..=504)) {
            Some(wait) => cause.with_wait(wait),
            None => cause,
        }
    }
}

/// A text of the receiver's, on one line and not too long.
fn shown(text: &str) -> String {
    text.trim().chars().take(MOST_TEXT).map(crate::fault::printable).collect()
}
