//! The answers of a Redis server, and their meaning for messages.

use ::redis::{ErrorKind, RedisError, ServerError, Value};

use crate::broker::link::{Cause, Fault, Reply};

/// The answers to the commands between `MULTI` and `EXEC`, of the replies to all of them.
pub(super) fn answers(mut replies: Vec<Value>) -> Vec<Reply> {
    let executed = replies.pop();
    let queued = replies.split_off(replies.len().min(1));
    match executed {
        Some(Value::Array(values)) if values.len() == queued.len() => values.into_iter().map(single).collect(),
        Some(Value::ServerError(error)) => aborted(queued, &error),
        _ => queued.into_iter().map(|_| no_answer()).collect(),
    }
}

/// The transaction was not executed.
fn aborted(queued: Vec<Value>, error: &ServerError) -> Vec<Reply> {
    let fault = queued.iter().find_map(|value| if let Value::ServerError(fault) = value { Some(fault) } else { None });
    let fault = fault.unwrap_or(error).clone();
    let answer = |value| match value {
        // This command was valid, but another one of the transaction was not.
        Value::SimpleString(text) if text == "QUEUED" => refused(&fault),
        // There was no transaction, because `MULTI` was refused: each command was executed by itself.
        value => single(value),
    };
    queued.into_iter().map(answer).collect()
}

/// The reply to a command that was executed.
fn single(value: Value) -> Reply {
    match value {
        Value::BulkString(_) | Value::SimpleString(_) => Reply::Accepted,
        Value::Nil => {
            Reply::Refused(Fault::Place, "no such stream; create it with XGROUP CREATE KEY GROUP $ MKSTREAM".into())
        }
        Value::ServerError(error) => refused(&error),
        _ => no_answer(),
    }
}

fn no_answer() -> Reply {
    Reply::Refused(Fault::Server, "an invalid answer to XADD".into())
}

/// The server's text, with advice.
fn refused(error: &ServerError) -> Reply {
    let words = format!("{} {}", error.code(), error.details().unwrap_or_default());
    let (fault, advice) = match error.code() {
        "OOM" => (Fault::Place, "; free memory, raise maxmemory, or bound the streams (max_len)"),
        "READONLY" => (Fault::Server, "; it is a replica: give the address of the master"),
        "NOAUTH" => (Fault::Server, "; give user and password in the URL"),
        "NOPERM" => (Fault::Place, NEEDED),
        "WRONGTYPE" => (Fault::Place, "; the key holds another type: set another key"),
        "MOVED" | "ASK" | "CROSSSLOT" => (Fault::Server, "; clusters are not supported"),
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" => (Fault::Server, ""),
        _ => (Fault::Place, ""),
    };
    Reply::Refused(fault, Cause::of(format!("{}{advice}", words.trim_end()), error.clone()))
}

const NEEDED: &str = "; grant the user the commands +multi +exec +xadd, and the key (~appmon:*)";

/// The error of a connection that the server refused.
pub(super) fn refused_connection(error: RedisError) -> Cause {
    let text = match error.kind() {
        ErrorKind::AuthenticationFailed => format!("{error}; give the right user and password in the URL"),
        _ => match (error.code(), error.detail()) {
            (Some("NOAUTH"), _) => "it asks for a password; give user and password in the URL".to_owned(),
            (Some("NOPERM"), detail) => format!("{}{NEEDED}", detail.unwrap_or_default()),
            _ => format!("no connection: {error}"),
        },
    };
    Cause::of(text, error)
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
    fn a_transaction_that_never_began_has_an_answer_per_command() {
        // A server whose user may not `MULTI` executes what follows all the same.
        let id = || Value::BulkString(b"1-1".to_vec());
        let error = |text: &str| ::redis::parse_redis_value(text.as_bytes()).unwrap();
        let replies = vec![error("-NOPERM no\r\n"), id(), error("-OOM no\r\n"), error("-ERR EXEC without MULTI\r\n")];
        let answers = answers(replies);
        assert!(matches!(answers[..], [Reply::Accepted, Reply::Refused(Fault::Place, _)]), "{answers:?}");
    }

    #[test]
    fn too_few_replies_are_no_acceptance() {
        for replies in [vec![], vec![Value::Okay], vec![Value::Okay, Value::Okay, Value::Array(vec![])]] {
            assert!(!answers(replies).iter().any(|answer| matches!(answer, Reply::Accepted)));
        }
    }
}
