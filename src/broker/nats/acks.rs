//! What an answer of JetStream means for a message.

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ErrorCode};

use crate::Error;
use crate::forward::Outcome;

/// The outcome of a message to `subject`; `complaint` is what the server said besides.
pub(super) fn outcome(answer: Result<PublishAck, PublishError>, place: &str, complaint: Option<String>) -> Outcome {
    let error = match answer {
        Ok(ack) if ack.duplicate => return Outcome::Duplicate,
        Ok(_) => return Outcome::Accepted,
        Err(error) => error,
    };
    let complaint = complaint.map_or_else(String::new, |text| format!(" (the server said: {text})"));
    match error.kind() {
        PublishErrorKind::TimedOut => {
            Outcome::Unknown(Error::broker_because(format!("{place}: no acknowledgement in time{complaint}"), error))
        }
        PublishErrorKind::BrokenPipe => {
            Outcome::Unknown(Error::broker_because(format!("{place}: the connection broke{complaint}"), error))
        }
        PublishErrorKind::StreamNotFound => {
            let what = "no stream has this subject, or its server is away: create one that does";
            Outcome::Retry(Error::broker_because(format!("{place}: {what}"), error))
        }
        PublishErrorKind::MaxPayloadExceeded => {
            let what = format!("{place}: larger than the server takes (max_payload): {error}");
            Outcome::Rejected(Error::broker_because(what, error))
        }
        _ => match refusal(&error) {
            Some((code, text)) => refused(code, &text, place, error),
            // The answer was not understood, so nobody knows.
            None => Outcome::Unknown(Error::broker_because(format!("{place}: {error}{complaint}"), error)),
        },
    }
}

/// What the server answered, where it did.
fn refusal(error: &PublishError) -> Option<(ErrorCode, String)> {
    let cause = std::error::Error::source(error)?.downcast_ref::<jetstream::Error>()?;
    Some((cause.error_code(), cause.to_string()))
}

fn refused(code: ErrorCode, text: &str, place: &str, error: PublishError) -> Outcome {
    if code == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM || code == ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM {
        let what = format!("{place}: larger than the stream takes (max_msg_size): {text}");
        return Outcome::Rejected(Error::broker_because(what, error));
    }
    // Whatever else it is, it is not the message's fault, and somebody may mend it.
    let what = match code {
        ErrorCode::STREAM_STORE_FAILED => "the stream is full, or cannot be written: make room, or raise its limits",
        ErrorCode::STREAM_SEALED => "the stream is sealed: create another one for this subject",
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => "JetStream is not enabled",
        ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => "the server is out of its resources",
        _ => "the server does not take it",
    };
    Outcome::Retry(Error::broker_because(format!("{place}: {what}: {text}"), error))
}
