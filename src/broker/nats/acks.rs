//! What an answer of JetStream means for a message.

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ErrorCode};

use crate::broker::link::{Cause, Fault, Reply};

/// The reply that an answer is; an error where none came, because the connection broke.
pub(super) fn reply(answer: Result<PublishAck, PublishError>) -> Result<Reply, Cause> {
    let error = match answer {
        Ok(ack) if ack.duplicate => return Ok(Reply::Duplicate),
        Ok(_) => return Ok(Reply::Accepted),
        Err(error) => error,
    };
    Ok(match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
            return Err(Cause::of("the connection broke", error));
        }
        // So it also answers where the leader of the stream is cut off from it.
        PublishErrorKind::StreamNotFound => {
            let what = "no stream has this subject, or its server is away: create one that does";
            Reply::Refused(Fault::Server, Cause::of(what, error))
        }
        PublishErrorKind::MaxPayloadExceeded => {
            let what = format!("larger than the server takes (max_payload): {error}");
            Reply::Refused(Fault::Size(None), Cause::of(what, error))
        }
        _ => match refusal(&error) {
            Some((code, text)) => refused(code, &text, error),
            // The answer was not understood, so nobody knows.
            None => return Err(Cause::of(error.to_string(), error)),
        },
    })
}

/// What the server answered, where it did.
fn refusal(error: &PublishError) -> Option<(ErrorCode, String)> {
    let cause = std::error::Error::source(error)?.downcast_ref::<jetstream::Error>()?;
    Some((cause.error_code(), cause.to_string()))
}

fn refused(code: ErrorCode, text: &str, error: PublishError) -> Reply {
    let (fault, what) = match code {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            (Fault::Size(None), "larger than the stream takes (max_msg_size)")
        }
        ErrorCode::STREAM_STORE_FAILED => {
            (Fault::Place, "the stream is full, or cannot be written: make room, or raise its limits")
        }
        ErrorCode::STREAM_SEALED => (Fault::Place, "the stream is sealed: create another one for this subject"),
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            (Fault::Place, "JetStream is not enabled for this user's account")
        }
        ErrorCode::JETSTREAM_NOT_ENABLED => (Fault::Server, "JetStream is not enabled"),
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => (Fault::Place, "the account is out of its resources"),
        ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED => (Fault::Server, "the server is out of its resources"),
        // Whatever else it is, it is not the message's fault, and somebody may mend it.
        _ => (Fault::Server, "the server does not take it"),
    };
    Reply::Refused(fault, Cause::of(format!("{what}: {text}"), error))
}
