//! What both ways to publish have in common: where messages go, and how one gets there.

use std::marker::PhantomData;

use super::line::Line;
use super::server::Dialer;
use super::{SUBJECT, Server};
use crate::broker::link::{Cause, Connect, Link, Session, Turn, template};
use crate::broker::url::Url;
use crate::forward::{Escape, Message, Template};
use crate::{Error, Result};

/// How messages are brought over a connection.
pub(super) trait Way: Send + Sync + 'static {
    type Session: Session;

    /// Makes a session of a connection.
    fn over(line: Line) -> Self::Session;

    /// As [`Connect::send`]; `subject` is that of a message.
    fn send(
        session: &mut Self::Session,
        turn: &mut Turn<'_>,
        subject: impl Fn(&Message) -> String + Send + Sync,
    ) -> impl Future<Output = Result<(), Cause>> + Send;
}

/// Servers, and the subject there.
pub(super) struct Subject<W> {
    dialer: Dialer,
    template: Template,
    way: PhantomData<fn() -> W>,
}

/// The link to a server.
pub(super) fn link<W: Way>(server: impl Into<Server>) -> Result<Link<Subject<W>>> {
    let dialer = server.into().check()?;
    let timeout = dialer.timeout();
    let mut link = Link::new(Subject { dialer, template: SUBJECT.parse()?, way: PhantomData }, 256);
    link.set_timeout(timeout);
    Ok(link)
}

/// Sets the subject, which must make no empty tokens.
pub(super) fn set_subject<W: Way, T: TryInto<Template>>(link: &mut Link<Subject<W>>, subject: T)
where
    Error: From<T::Error>,
{
    link.configure("subject", |connect| {
        let subject = template(subject, Escape::Nats)?;
        if subject.to_string().split('.').any(str::is_empty) {
            return Err(Error::config(format!("template {subject}: it has an empty token")));
        }
        connect.template = subject;
        Ok(())
    });
}

impl<W> Clone for Subject<W> {
    fn clone(&self) -> Self {
        Self { dialer: self.dialer.clone(), template: self.template.clone(), way: PhantomData }
    }
}

impl<W: Way> Connect for Subject<W> {
    type Server = Url;
    type Session = W::Session;

    fn servers(&self) -> &[Url] {
        self.dialer.urls()
    }

    async fn connect(&self, server: &Url) -> Result<W::Session, Cause> {
        Ok(W::over(self.dialer.connect(server).await?))
    }

    async fn send(&self, session: &mut W::Session, turn: &mut Turn<'_>) -> Result<(), Cause> {
        W::send(session, turn, |message| self.place(message)).await
    }

    fn place(&self, message: &Message) -> String {
        self.template.render(message, Escape::Nats)
    }

    fn places(&self) -> String {
        self.template.to_string()
    }
}
