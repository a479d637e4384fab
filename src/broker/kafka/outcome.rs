//! What librdkafka's codes mean for a message.

use rdkafka::types::RDKafkaErrorCode as Code;

/// Returns the outcome of a message by the error it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The broker does not have it, and may take it later.
    Later,
    /// It was given up on its way, or the answer is one that leaves it open.
    Open,
    /// It, or a record batch it was in, is too large.
    Oversize,
    /// The broker will not take it later either.
    Never,
}

pub(super) fn verdict(code: Code) -> Verdict {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => Verdict::Oversize,
        Code::InvalidRecord | Code::InvalidTimestamp => Verdict::Never,
        // What is the topic's or the user's is no message's fault.
        Code::TopicAuthorizationFailed
        | Code::InvalidTopic
        | Code::PolicyViolation
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::NotEnoughReplicas
        | Code::KafkaStorageError
        | Code::ThrottlingQuotaExceeded
        | Code::ClusterAuthorizationFailed
        | Code::UnsupportedCompressionType
        | Code::QueueFull
        | Code::Fatal
        | Code::GaplessGuarantee => Verdict::Later,
        _ => Verdict::Open,
    }
}

/// Whether the error would be the same for every message of the topic.
pub(super) fn is_of_topic(code: Code) -> bool {
    use Code::{InvalidTopic, TopicAuthorizationFailed, UnknownTopic, UnknownTopicOrPartition};
    matches!(code, InvalidTopic | TopicAuthorizationFailed | UnknownTopic | UnknownTopicOrPartition)
}

/// What a person can do about it, where there is something.
pub(super) fn advice(code: Code) -> &'static str {
    match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition => ": create the topic, or let the brokers create topics",
        Code::UnknownPartition => ": the topic has fewer partitions than it had",
        Code::TopicAuthorizationFailed => ": grant this user Write and Describe on the topic",
        Code::ClusterAuthorizationFailed => {
            ": grant this user IdempotentWrite on the cluster, or publish with idempotent(false)"
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            ": send smaller messages, or raise max.message.bytes of the topic, and message.max.bytes here"
        }
        Code::InvalidTimestamp => ": the clock of this host is off, or the topic has a limit on timestamps",
        Code::InvalidTopic => ": topics have 1 to 249 letters, digits, dots, underscores and dashes",
        Code::NotEnoughReplicas => ": fewer replicas are in sync than min.insync.replicas",
        Code::UnsupportedCompressionType => ": publish with another compression",
        _ => "",
    }
}
