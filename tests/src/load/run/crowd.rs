//! The viewers on their way in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Plan;
use crate::load::hall::Hall;
use crate::load::publisher::local_address;
use crate::load::signalling::{Desk, Endpoint};

/// Between two looks at all viewers, for those whose session is over.
const GIVE_UP_INTERVAL: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Crowd<'a> {
    plan: &'a Plan,
    desk: &'a Desk,
    pub(super) started: Instant,
    /// The server's address and this machine's, of each place to watch.
    ways: Vec<(IpAddr, IpAddr)>,
    asked: usize,
    answered: usize,
    pub(super) next_give_up: Instant,
    pub(super) failures: BTreeMap<String, usize>,
    pub(super) sessions: Vec<String>,
}

impl<'a> Crowd<'a> {
    pub(super) fn new(plan: &'a Plan, desk: &'a Desk) -> Result<Self, String> {
        let way = |endpoint: &Endpoint| {
            let server = endpoint.address()?;
            let local = local_address(server);
            let local = local.map_err(|error| format!("there is no way to {server}: {error}"))?;
            Ok((server, local))
        };
        Ok(Self {
            plan,
            desk,
            started: Instant::now(),
            ways: plan.watch.iter().map(way).collect::<Result<_, String>>()?,
            asked: 0,
            answered: 0,
            next_give_up: Instant::now(),
            failures: BTreeMap::new(),
            sessions: Vec::new(),
        })
    }

    /// Sends the offers that are due, and no more than can be under way.
    pub(super) fn ask(&mut self, now: Instant, hall: &mut Hall) -> Result<(), String> {
        let since = (now - self.started).as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of viewers, and what is too large saturates"
        )]
        let due = ((since * self.plan.join_rate) as usize).saturating_add(1);
        let due = match self.plan.join_rate.is_finite() {
            true => due.min(self.plan.viewers),
            false => self.plan.viewers,
        };
        while self.asked < due && self.asked < self.answered + 2 * self.plan.offers.max(1) {
            let place = self.asked % self.ways.len();
            let seat = hall.seat(now, self.ways[place].1, &self.plan.codecs);
            let (number, offer) = seat.map_err(|error| format!("a viewer's socket: {error}"))?;
            self.desk.offer(number, &self.plan.watch[place], offer);
            self.asked += 1;
        }
        Ok(())
    }

    pub(super) fn take_answers(&mut self, hall: &mut Hall) {
        while let Some(answered) = self.desk.answered() {
            self.answered += 1;
            let near = self.ways[answered.who % self.ways.len()].0;
            let taken = answered.result.and_then(|(session, answer)| {
                self.sessions.extend(session);
                let (who, asked) = (answered.who, answered.asked);
                let uri = self.plan.watch[answered.who % self.ways.len()].uri();
                let taken = hall.answer(who, asked, &answer, Some(near));
                taken.map_err(|why| format!("POST {uri}: the answer does not work: {why}"))
            });
            if let Err(why) = taken {
                *self.failures.entry(why).or_default() += 1;
            }
        }
    }

    pub(super) fn give_up(&mut self, now: Instant, hall: &mut Hall) {
        if now < self.next_give_up {
            return;
        }
        self.next_give_up = now + GIVE_UP_INTERVAL;
        let since = now.checked_sub(self.plan.patience).unwrap_or(now);
        for why in hall.give_up(since) {
            *self.failures.entry(why).or_default() += 1;
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// Whether all are there that will come.
    pub(super) fn is_in(&self, hall: &Hall) -> bool {
        let expected = self.plan.viewers.saturating_sub(self.failed());
        self.answered == self.plan.viewers && hall.totals().connected >= expected
    }

    /// Why nobody came.
    pub(super) fn complaint(&self) -> String {
        if self.failures.is_empty() {
            return "the run ended before a viewer was connected".to_owned();
        }
        let reasons = self.failures.iter();
        let reasons: Vec<_> = reasons.map(|(why, n)| format!("{n} × {why}")).collect();
        format!("no viewer got through: {}", reasons.join("; "))
    }
}
