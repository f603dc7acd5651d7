//! Drives a [`Race`]: DNS on one side, attempts on the other, the clock between them.

use std::future::Future;

use echkit_proto::race::{
    Action, AttemptId, Outcome, Query, Race, RaceEndpoint, RaceSettings, Start,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::attempt_outcome::AttemptFault;
use super::attempt_progress::{AttemptProgress, ProgressNote, ProgressStep};
use crate::deadline::Deadline;
use crate::discover::{Discovery, News, Planned, Search};
use crate::keyed_futures::KeyedFutures;

/// A race between endpoints that carry a `T` for something that is won, a `W`, with its questions
/// and attempts. Dropping it closes all of them.
pub(super) struct RaceDriver<'a, T, W> {
    race: Race<T>,
    search: Search,
    attempts: KeyedFutures<'a, AttemptId, Result<W, Box<AttemptFault>>>,
    faults: Vec<AttemptFault>,
    begun: Instant,
    /// When to stop waiting for DNS.
    dns_until: Option<Instant>,
    /// Whether that time has come with answers still out.
    dns_late: bool,
    /// When all of it ends. No attempt starts afterwards.
    deadline: Deadline,
    /// How attempts tell of their progress, and where that arrives.
    tell: mpsc::UnboundedSender<ProgressNote>,
    told: mpsc::UnboundedReceiver<ProgressNote>,
}

/// DNS took too long.
#[derive(Debug)]
pub(super) struct DnsTimeout;

/// What comes next in a race.
#[derive(Debug)]
pub(super) enum Turn<T, W> {
    /// An attempt is to be started, by [`RaceDriver::start`].
    Start(Start<T>),
    /// The race is over.
    Ended(RaceEnd<W>),
}

/// How a race ended.
#[derive(Debug)]
pub(super) enum RaceEnd<W> {
    /// An attempt succeeded; the others were closed.
    Won(W),
    /// Nothing is left to be tried.
    Lost(Vec<AttemptFault>),
    /// DNS took too long, and no attempt was made for want of an address.
    DnsTimeout,
    /// The deadline came first, with these failures until then.
    OutOfTime(Vec<AttemptFault>),
}

/// What happened next.
enum Event<W> {
    News(Option<News>),
    Ended(AttemptId, Result<W, Box<AttemptFault>>),
    Progress(AttemptId, ProgressStep),
    Wake,
    DnsTimeout,
    Deadline,
}

impl<'a, T: Clone, W> RaceDriver<'a, T, W> {
    /// A race that begins now, with its first questions.
    pub(super) fn new(
        search: Search,
        settings: RaceSettings,
        dns_until: Option<Instant>,
        deadline: Deadline,
    ) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            race: Race::new(settings),
            search,
            attempts: KeyedFutures::new(),
            faults: Vec::new(),
            begun: Instant::now(),
            dns_until,
            dns_late: false,
            deadline,
            tell,
            told,
        }
    }

    /// Waits until SVCB resolution has concluded.
    pub(super) async fn resolve(&mut self) -> Result<(), DnsTimeout> {
        loop {
            self.ask();
            match self.event().await {
                Event::News(Some(News::Settled) | None) => return Ok(()),
                Event::DnsTimeout | Event::Deadline => return Err(DnsTimeout),
                other => self.happen(other),
            };
        }
    }

    /// What DNS has answered so far.
    pub(super) fn discovery(&self) -> &Discovery {
        self.search.discovery()
    }

    /// The endpoints that follow from it.
    pub(super) fn planned(&self) -> &[Planned] {
        self.search.planned()
    }

    /// Takes the endpoints that may be connected to.
    pub(super) fn settle(&mut self, endpoints: impl IntoIterator<Item = RaceEndpoint<T>>) {
        self.race.settle(self.begun.elapsed(), endpoints);
    }

    /// Waits for what DNS has to say, attempts aside.
    pub(super) async fn complete(&mut self) -> Result<(), DnsTimeout> {
        let work = self.search.complete();
        match self.dns_until {
            None => work.await,
            Some(until) => tokio::time::timeout_at(until, work)
                .await
                .map_err(|_| DnsTimeout)?,
        }
        Ok(())
    }

    /// Runs until there is something to start, or the end.
    pub(super) async fn next(&mut self) -> Turn<T, W> {
        loop {
            if self.deadline.has_passed() {
                return Turn::Ended(self.out_of_time());
            }
            if let Some(start) = self.ask() {
                return Turn::Start(start);
            }
            if self.race.outcome() == Some(Outcome::Lost) {
                return Turn::Ended(match self.dns_late && self.faults.is_empty() {
                    true => RaceEnd::DnsTimeout,
                    false => RaceEnd::Lost(std::mem::take(&mut self.faults)),
                });
            }
            let event = self.event().await;
            if let Some(won) = self.happen(event) {
                // Cancels the others.
                self.ask();
                return Turn::Ended(RaceEnd::Won(won));
            }
        }
    }

    /// Takes the results of attempts at the deadline, and closes those still running.
    fn out_of_time(&mut self) -> RaceEnd<W> {
        let idle = self.attempts.is_empty() && self.faults.is_empty();
        while let Some((_, outcome)) = self.attempts.ended() {
            match outcome {
                Ok(won) => return RaceEnd::Won(won),
                Err(fault) => self.faults.push(*fault),
            }
        }
        self.race.give_up();
        // Cancels what goes on.
        self.ask();
        match idle && self.search.is_busy() {
            true => RaceEnd::DnsTimeout,
            false => RaceEnd::OutOfTime(std::mem::take(&mut self.faults)),
        }
    }

    /// Runs an attempt.
    pub(super) fn start(
        &mut self,
        attempt: AttemptId,
        work: impl Future<Output = Result<W, Box<AttemptFault>>> + Send + 'a,
    ) {
        self.attempts.push(attempt, work);
    }

    pub(super) fn progress(&self, attempt: AttemptId) -> AttemptProgress {
        AttemptProgress {
            attempt,
            to: self.tell.clone(),
        }
    }

    /// What DNS has said. Ends all questions and attempts.
    pub(super) fn finish(self) -> Discovery {
        self.search.finish()
    }

    /// Does what the race wants done now, up to a start.
    fn ask(&mut self) -> Option<Start<T>> {
        while let Some(action) = self.race.poll(self.begun.elapsed()) {
            match action {
                Action::Ask(Query::Https) => self.search.ask_https(),
                Action::Ask(Query::Addresses(target, family)) => {
                    self.search.ask_addresses(target, family);
                }
                Action::Start(start) => return Some(start),
                Action::Cancel(attempt) => self.attempts.remove(&attempt),
            }
        }
        None
    }

    async fn event(&mut self) -> Event<W> {
        // A time past the end of the clock never comes.
        let wake = self.race.wake_at();
        let wake = wake.and_then(|wake| self.begun.checked_add(wake));
        let dns_until = self.dns_until.filter(|_| self.search.is_busy());
        // Biased, so that what came at the same time is taken in the order that helps most.
        tokio::select! {
            biased;
            (attempt, outcome) = self.attempts.next(), if !self.attempts.is_empty() => {
                Event::Ended(attempt, outcome)
            }
            Some((attempt, how)) = self.told.recv() => Event::Progress(attempt, how),
            news = self.search.next(), if self.search.is_busy() => Event::News(news),
            () = sleep_until(wake) => Event::Wake,
            () = sleep_until(dns_until) => Event::DnsTimeout,
            () = sleep_until(self.deadline.until) => Event::Deadline,
        }
    }

    /// Tells the race. Gives what an attempt has won.
    fn happen(&mut self, event: Event<W>) -> Option<W> {
        let now = self.begun.elapsed();
        match event {
            Event::Wake | Event::Deadline | Event::News(Some(News::Settled) | None) => {}
            Event::News(Some(News::Addresses(target, family, list))) => {
                self.race.addresses(now, target, family, list);
            }
            Event::Progress(attempt, ProgressStep::Connected) => self.race.connected(now, attempt),
            Event::Progress(attempt, ProgressStep::Restarted) => self.race.restarted(now, attempt),
            Event::Ended(attempt, Ok(won)) => {
                self.race.won(attempt);
                return Some(won);
            }
            Event::Ended(attempt, Err(fault)) => {
                self.race.failed(now, attempt, fault.reach);
                self.faults.push(*fault);
            }
            Event::DnsTimeout => {
                self.dns_until = None;
                self.dns_late = true;
                for (target, family) in self.search.awaited() {
                    self.race.addresses(now, target, family, []);
                }
            }
        }
        None
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
