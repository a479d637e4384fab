//! What a Redis server answers, and what that means for a message.

use ::redis::{ErrorKind, RedisError, ServerError, ServerErrorKind, Value};

use crate::Error;
use crate::broker::redis::connection::Server;
use crate::forward::Outcome;

/// What became of one command of a transaction.
#[derive(Debug)]
pub(super) enum Answer {
    Taken,
    /// Nothing was wrong with it, but with another of the same transaction, which will never be right.
    Aborted,
    Refused(Refusal),
}

/// Why a command was not executed.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    Error(ServerError),
    NoStream,
    Malformed,
}

/// The answers to the commands between `MULTI` and `EXEC`, of the replies to all of them.
pub(super) fn answers(mut replies: Vec<Value>) -> Vec<Answer> {
    let executed = replies.pop();
    let queued = replies.split_off(replies.len().min(1));
    match executed {
        Some(Value::Array(values)) if values.len() == queued.len() => values.into_iter().map(single).collect(),
        Some(Value::ServerError(error)) => aborted(queued, error),
        _ => queued.into_iter().map(|_| Answer::Refused(Refusal::Malformed)).collect(),
    }
}

/// The reply to a command that was executed.
fn single(value: Value) -> Answer {
    match value {
        Value::BulkString(_) | Value::SimpleString(_) => Answer::Taken,
        Value::Nil => Answer::Refused(Refusal::NoStream),
        Value::ServerError(error) => Answer::Refused(Refusal::Error(error)),
        _ => Answer::Refused(Refusal::Malformed),
    }
}

/// The transaction was not executed.
fn aborted(queued: Vec<Value>, error: ServerError) -> Vec<Answer> {
    let faults =
        || queued.iter().filter_map(|value| if let Value::ServerError(fault) = value { Some(fault) } else { None });
    let fault = faults().find(|fault| !is_final(fault)).cloned();
    let only_final = faults().next().is_some() && fault.is_none();
    let fault = fault.unwrap_or(error);
    let answer = |value| match value {
        Value::ServerError(error) => Answer::Refused(Refusal::Error(error)),
        Value::SimpleString(text) if text == "QUEUED" => match only_final {
            true => Answer::Aborted,
            false => Answer::Refused(Refusal::Error(fault.clone())),
        },
        // There was no transaction, because `MULTI` was refused: each command was executed by itself.
        value => single(value),
    };
    queued.into_iter().map(answer).collect()
}

/// Whether the same command will be refused again.
fn is_final(error: &ServerError) -> bool {
    error.code() == "WRONGTYPE" || error.kind() == Some(ServerErrorKind::NoPerm)
}

impl Refusal {
    /// What becomes of a message to the stream `key`.
    pub(super) fn outcome(&self, server: &Server, key: &str) -> Outcome {
        match self {
            Self::NoStream => Outcome::Retry(Error::broker(format!(
                "{server}: no stream {key}; make it with XGROUP CREATE {key} GROUP $ MKSTREAM"
            ))),
            Self::Malformed => {
                Outcome::Retry(Error::broker(format!("{server}: {key}: an answer that is none to XADD")))
            }
            Self::Error(error) => {
                let never = is_final(error);
                let text = format!("{server}: {key}: {}", explained(error));
                let error = Error::broker_because(text, error.clone());
                if never { Outcome::Rejected(error) } else { Outcome::Retry(error) }
            }
        }
    }
}

/// The server's own words, and what to do.
fn explained(error: &ServerError) -> String {
    let words = format!("{} {}", error.code(), error.details().unwrap_or_default());
    let advice = match error.code() {
        "OOM" => "; free memory, raise maxmemory, or bound the streams (max_len)",
        "READONLY" => "; it is a replica: give the address of the master",
        "NOAUTH" => "; give user and password in the URL",
        "NOPERM" => "; the user needs the commands +multi +exec +xadd, and the key",
        "WRONGTYPE" => "; the key holds something else: give another key",
        "MOVED" | "ASK" | "CROSSSLOT" => "; clusters are not supported",
        _ => "",
    };
    format!("{}{advice}", words.trim_end())
}

/// Why there is no connection, after one was made.
pub(super) fn refused_connection(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::AuthenticationFailed => format!("{error}; give the right user and password in the URL"),
        _ => match (error.code(), error.detail()) {
            (Some("NOAUTH"), _) => "it asks for a password; give user and password in the URL".to_owned(),
            (Some("NOPERM"), detail) => {
                format!("{}; the user needs the commands +multi +exec +xadd", detail.unwrap_or_default())
            }
            _ => format!("no connection: {error}"),
        },
    }
}

/// The number in a reply to `CONFIG GET NAME`.
pub(super) fn setting(value: Value) -> Option<usize> {
    let Value::Array(values) = value else { return None };
    let Some(Value::BulkString(digits)) = values.into_iter().nth(1) else { return None };
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_never_began_is_told_command_by_command() {
        // A server whose user may not `MULTI` executes what follows all the same.
        let id = || Value::BulkString(b"1-1".to_vec());
        let error = |text: &str| ::redis::parse_redis_value(text.as_bytes()).unwrap();
        let replies = vec![error("-NOPERM no\r\n"), id(), error("-OOM no\r\n"), error("-ERR EXEC without MULTI\r\n")];
        let answers = answers(replies);
        assert!(matches!(answers[..], [Answer::Taken, Answer::Refused(Refusal::Error(_))]), "{answers:?}");
    }

    #[test]
    fn too_few_replies_are_no_acceptance() {
        for replies in [vec![], vec![Value::Okay], vec![Value::Okay, Value::Okay, Value::Array(vec![])]] {
            assert!(!answers(replies).iter().any(|answer| matches!(answer, Answer::Taken)));
        }
    }
}
