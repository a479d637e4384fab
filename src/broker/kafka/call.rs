//! One batch on its way.

use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::Instant;

use crate::Error;
use crate::broker::deadline::from_now;
use crate::broker::kafka::outcome::{Verdict, advice, is_of_topic, verdict};
use crate::broker::kafka::producer::{GIVING_UP, Producer, Report};
use crate::forward::{Escape, Message, Outcome, Template};

/// One call of `publish`. When it is dropped before its end, it gives up what is on its way.
pub(super) struct Call<'a> {
    address: &'a str,
    topic: &'a Template,
    producer: &'a mut Producer,
    batch: &'a [Message],
    outcomes: Vec<Option<Outcome>>,
    /// How many messages the producer was given, and how many of them it has not settled.
    given: usize,
    pending: usize,
    course: Course,
    /// Whether messages can have been in one record batch.
    may_share: bool,
    /// The last message that was not, whatever the others.
    alone: Option<usize>,
    /// A topic that is refused, whatever the message.
    refused: Option<(String, Code)>,
    too_large_together: bool,
    too_large_alone: bool,
}

/// How it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Course {
    Well,
    /// A message failed: those after it are not to be accepted.
    Failed,
    /// The brokers refuse the producer, before it could send anything.
    Refused,
    /// Nothing was ever sent, as no broker can be reached.
    Unreachable,
    /// Nothing came for too long.
    TimedOut,
}

/// How it ended.
pub(super) struct End {
    /// One for each message.
    pub(super) outcomes: Vec<Outcome>,
    /// Whether the producer has nothing left, and can take the next batch.
    pub(super) settled: bool,
    /// Whether the time was over, and no connection was seen to break.
    pub(super) silent: bool,
    /// Whether a record batch was too large, and a message by itself.
    pub(super) too_large_together: bool,
    pub(super) too_large_alone: bool,
}

const SOON: Duration = Duration::from_millis(1);

impl<'a> Call<'a> {
    pub(super) fn new(
        address: &'a str,
        topic: &'a Template,
        producer: &'a mut Producer,
        batch: &'a [Message],
        may_share: bool,
    ) -> Self {
        producer.listen(true);
        let outcomes = batch.iter().map(|_| None).collect();
        let course = Course::Well;
        Self {
            address,
            topic,
            producer,
            batch,
            outcomes,
            given: 0,
            pending: 0,
            course,
            may_share,
            alone: None,
            refused: None,
            too_large_together: false,
            too_large_alone: false,
        }
    }

    pub(super) async fn run(mut self, deadline: Instant, timeout: Duration) -> End {
        for (number, message) in self.batch.iter().enumerate() {
            if self.producer.has_begun(message) {
                self.send(number, message, deadline).await;
            } else {
                self.begin(number, message, deadline).await;
            }
            if self.course != Course::Well {
                break;
            }
        }
        self.wait_for_all(deadline).await;
        self.give_up().await;
        self.settle_rest(timeout);
        End {
            outcomes: self.outcomes.drain(..).flatten().collect(),
            settled: self.course == Course::Well,
            silent: self.course == Course::TimedOut && self.producer.trouble().is_none(),
            too_large_together: self.too_large_together,
            too_large_alone: self.too_large_alone,
        }
    }

    /// Sends the first message of its kind and host by itself. Until a broker has taken one of a partition, it takes any: also one
    /// that the client had ready when the one before was refused.
    async fn begin(&mut self, number: usize, message: &Message, deadline: Instant) {
        self.wait_for_all(deadline).await;
        self.alone = Some(number);
        self.send(number, message, deadline).await;
        self.wait_for_all(deadline).await;
        if let Some(Some(Outcome::Accepted)) = self.outcomes.get(number) {
            self.producer.begun(message);
        }
    }

    async fn wait_for_all(&mut self, deadline: Instant) {
        while self.pending > 0 && self.course == Course::Well {
            self.wait(deadline).await;
        }
    }

    /// Passes a message to the producer; where its queue is full, waits until something leaves it.
    async fn send(&mut self, number: usize, message: &Message, deadline: Instant) {
        let topic = self.topic.render(message, Escape::Kafka);
        while self.course == Course::Well {
            match self.producer.send(&topic, message, number) {
                Ok(()) => {
                    self.given = number.saturating_add(1);
                    self.pending = self.pending.saturating_add(1);
                    return;
                }
                Err(Code::QueueFull) if self.pending > 0 => self.wait(deadline).await,
                // What was reported leaves the queue right after its report.
                Err(Code::QueueFull) if Instant::now() < deadline => tokio::time::sleep(SOON).await,
                Err(Code::QueueFull) => self.course = Course::TimedOut,
                // Too large for the client's own limit.
                Err(code @ Code::MessageSizeTooLarge) => {
                    let error = self.refusal(code, message);
                    return self.settle(number, Outcome::TooLarge(error));
                }
                // The client itself knows better, and nothing of it went out: those after it may.
                Err(code) if verdict(code) == Verdict::Never => {
                    let error = self.refusal(code, message);
                    return self.settle(number, Outcome::Rejected(error));
                }
                Err(code) => return self.fail(number, code),
            }
        }
    }

    /// Waits for the next report, and no longer than `deadline`.
    async fn wait(&mut self, deadline: Instant) {
        match tokio::time::timeout_at(deadline, self.producer.report()).await {
            Ok(Report::Settled(number, result)) => self.settled(number, result),
            // It may only have lost its connections, and goes on when it has them again.
            Ok(Report::AllDown) if self.producer.reached() => {}
            Ok(Report::AllDown) => self.course = Course::Unreachable,
            Ok(Report::Fatal) => self.course = self.broken(),
            Err(_) => self.course = Course::TimedOut,
        }
    }

    fn settled(&mut self, number: usize, result: Result<(), Code>) {
        self.pending = self.pending.saturating_sub(1);
        match result {
            Ok(()) => self.settle(number, Outcome::Accepted),
            // What was given up, by us or by a client that can go on no more, is settled at the end.
            Err(Code::PurgeQueue | Code::PurgeInflight) => {
                if self.course == Course::Well {
                    self.course = self.broken();
                }
            }
            Err(code) => self.fail(number, code),
        }
    }

    /// The course of a call whose producer can go on no more.
    fn broken(&self) -> Course {
        let refused = self.producer.fatal().is_some_and(|(code, _)| code == Code::ClusterAuthorizationFailed);
        if refused { Course::Refused } else { Course::Failed }
    }

    /// A message failed, and the batch ends.
    fn fail(&mut self, number: usize, code: Code) {
        if self.course == Course::Well {
            self.course = Course::Failed;
        }
        let Some(message) = self.batch.get(number) else { return };
        if is_of_topic(code) {
            self.refused = Some((self.topic.render(message, Escape::Kafka), code));
        }
        let error = self.refusal(code, message);
        let outcome = match verdict(code) {
            Verdict::Later => Outcome::Retry(error),
            Verdict::Open => Outcome::Unknown(error),
            Verdict::Never => Outcome::Rejected(error),
            Verdict::Oversize if self.may_share && self.alone != Some(number) => {
                self.too_large_together = true;
                Outcome::Retry(error)
            }
            Verdict::Oversize => {
                self.too_large_alone = true;
                Outcome::TooLarge(error)
            }
        };
        self.settle(number, outcome);
    }

    fn settle(&mut self, number: usize, outcome: Outcome) {
        if let Some(place) = self.outcomes.get_mut(number) {
            *place = Some(outcome);
        }
    }

    /// Lets go of what is with the producer, and takes in what became of it meanwhile.
    async fn give_up(&mut self) {
        if self.pending == 0 {
            return;
        }
        self.producer.give_up();
        let deadline = from_now(GIVING_UP);
        while self.pending > 0 {
            match tokio::time::timeout_at(deadline, self.producer.report()).await {
                Ok(Report::Settled(number, result)) => self.settled(number, result),
                Ok(Report::AllDown | Report::Fatal) => {}
                // Its threads are busy; it is taken down as it is.
                Err(_) => break,
            }
        }
        self.pending = 0;
    }

    /// Settles each message that is still pending, with the reason why it was given up or never sent.
    fn settle_rest(&mut self, timeout: Duration) {
        let detail = match self.producer.fatal() {
            Some((code, text)) => format!(": {text}{}", advice(code)),
            None => self.producer.trouble().map(|text| format!(": {text}")).unwrap_or_default(),
        };
        let text = match self.course {
            Course::Well => return,
            Course::Failed => format!("{}: given up after an earlier message failed{detail}", self.address),
            Course::Refused => format!("{}: the brokers refuse this producer{detail}", self.address),
            Course::Unreachable => format!("{}: no broker can be reached{detail}", self.address),
            Course::TimedOut => format!("{}: no acknowledgement within {timeout:?}{detail}", self.address),
        };
        let none_sent = matches!(self.course, Course::Refused | Course::Unreachable);
        for (number, message) in self.batch.iter().enumerate() {
            if self.outcomes.get(number).is_some_and(Option::is_some) {
                continue;
            }
            let not_sent = none_sent || number >= self.given;
            let outcome = match &self.refused {
                Some((topic, code)) if not_sent && *topic == self.topic.render(message, Escape::Kafka) => {
                    let error = self.refusal(*code, message);
                    Outcome::Retry(error)
                }
                _ if not_sent => Outcome::Retry(Error::broker(text.clone())),
                _ => Outcome::Unknown(Error::broker(text.clone())),
            };
            self.settle(number, outcome);
        }
    }

    fn refusal(&self, code: Code, message: &Message) -> Error {
        let topic = self.topic.render(message, Escape::Kafka);
        let bytes = message.payload.len();
        Error::broker(format!("{}: topic {topic}, a message of {bytes} bytes: {code}{}", self.address, advice(code)))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.producer.listen(false);
        if self.pending > 0 {
            self.producer.give_up();
        }
    }
}
