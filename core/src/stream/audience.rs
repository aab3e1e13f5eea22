//! The viewers of a path on one transport, visited in turn.
//!
//! News on the path costs one assignment, however many viewers there are: each is visited once
//! after it. What comes while a round is under way begins the round anew from where it stands, so
//! that nobody is visited twice before everybody was visited once.

use crate::ids::SessionId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    viewers: Vec<SessionId>,
    /// Whose turn it is.
    next: usize,
    /// How many are still to be visited.
    remaining: usize,
    /// The path stands in the queue of those whose audiences are due.
    queued: bool,
}

impl Audience {
    /// The viewer takes its place, and has a turn: after those who are still to be visited.
    pub(crate) fn admit(&mut self, viewer: SessionId) {
        let place = (self.next + self.remaining).min(self.viewers.len());
        self.viewers.insert(place, viewer);
        self.remaining += 1;
    }

    pub(crate) fn retire(&mut self, viewer: SessionId) {
        let Some(place) = self.viewers.iter().position(|v| *v == viewer) else {
            return;
        };
        self.viewers.swap_remove(place);
        if self.next >= self.viewers.len() {
            self.next = 0;
        }
        if self.remaining > 0 {
            // Whoever was moved into the gap might lose its turn: all are due again.
            self.remaining = self.viewers.len();
        }
    }

    /// There is news for everybody.
    pub(crate) fn alert(&mut self) {
        self.remaining = self.viewers.len();
    }

    /// Whether the path is to be put into the queue of those whose audiences are due: somebody is
    /// due, and it does not stand there. Then it counts as standing there.
    #[must_use]
    pub(crate) fn enqueue(&mut self) -> bool {
        let enters = self.remaining > 0 && !self.queued;
        self.queued |= enters;
        enters
    }

    /// The path was taken out of that queue.
    pub(crate) fn on_dequeued(&mut self) {
        self.queued = false;
    }

    /// Whose turn it is. The turn stays until [`done`](Self::done).
    pub(crate) fn turn(&self) -> Option<SessionId> {
        if self.remaining == 0 {
            return None;
        }
        self.viewers.get(self.next).copied()
    }

    /// Whoever had the turn has got everything.
    pub(crate) fn done(&mut self) {
        self.remaining = self.remaining.saturating_sub(1);
        self.next += 1;
        if self.next >= self.viewers.len() {
            self.next = 0;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.viewers.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn viewer(slot: u32) -> SessionId {
        SessionId {
            slot,
            generation: 0,
        }
    }

    fn round(audience: &mut Audience) -> Vec<u32> {
        std::iter::from_fn(|| {
            let turn = audience.turn()?;
            audience.done();
            Some(turn.slot)
        })
        .collect()
    }

    #[test]
    fn everybody_is_visited_once_after_news() {
        let mut audience = Audience::default();
        for slot in 0..3 {
            audience.admit(viewer(slot));
        }
        assert_eq!(round(&mut audience), [0, 1, 2]);
        audience.alert();
        assert_eq!(audience.turn(), Some(viewer(0)));
        audience.done();
        audience.alert();
        assert_eq!(round(&mut audience), [1, 2, 0]);
    }

    #[test]
    fn leaving_costs_nobody_else_a_turn() {
        let mut audience = Audience::default();
        for slot in 0..4 {
            audience.admit(viewer(slot));
        }
        audience.done();
        audience.done();
        audience.retire(viewer(0));
        let mut visited = round(&mut audience);
        visited.sort_unstable();
        assert_eq!(visited, [1, 2, 3]);
        audience.retire(viewer(9));
        assert_eq!(audience.len(), 3);
    }

    #[test]
    fn regress_a_viewer_that_leaves_between_rounds_does_not_hide_the_next_news() {
        let mut audience = Audience::default();
        for slot in 0..3 {
            audience.admit(viewer(slot));
        }
        round(&mut audience);
        audience.retire(viewer(1));
        assert_eq!(audience.turn(), None);
        audience.alert();
        assert!(audience.enqueue());
        assert_eq!(round(&mut audience).len(), 2);
    }

    #[test]
    fn regress_leaving_does_not_starve_the_back_of_the_audience() {
        let mut audience = Audience::default();
        for slot in 0..100 {
            audience.admit(viewer(slot));
        }
        let mut visits = 0;
        for leaver in 0..4 {
            for _ in 0..20 {
                visits += u32::from(audience.turn() == Some(viewer(60)));
                audience.done();
            }
            audience.retire(viewer(leaver));
            audience.alert();
        }
        assert_eq!(visits, 1);
    }

    #[test]
    fn a_path_stands_in_the_queue_once_and_only_for_somebody() {
        let mut audience = Audience::default();
        audience.alert();
        assert!(!audience.enqueue());
        audience.admit(viewer(0));
        assert!(audience.enqueue());
        audience.retire(viewer(0));
        audience.admit(viewer(1));
        assert!(!audience.enqueue());
        audience.on_dequeued();
        assert!(audience.enqueue());
    }

    #[test]
    fn regress_who_comes_between_rounds_has_the_turn_itself() {
        let mut audience = Audience::default();
        for slot in 0..3 {
            audience.admit(viewer(slot));
        }
        round(&mut audience);
        audience.admit(viewer(3));
        assert_eq!(round(&mut audience), [3]);
        audience.alert();
        audience.done();
        audience.done();
        audience.admit(viewer(4));
        assert_eq!(round(&mut audience), [2, 4, 3]);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Admit,
        Retire(usize),
        Alert,
        Visit,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            2 => Just(Act::Admit),
            1 => (0_usize..40).prop_map(Act::Retire),
            2 => Just(Act::Alert),
            8 => Just(Act::Visit),
        ]
    }

    proptest! {
        #[test]
        fn who_is_due_is_visited_and_nobody_waits_for_ever(acts in prop::collection::vec(act(), 1..300)) {
            let mut audience = Audience::default();
            // Who is there: whether it is due, and how many were visited since it could have been.
            let mut model: BTreeMap<SessionId, (bool, usize)> = BTreeMap::new();
            let mut most = 0;
            for (slot, act) in (0..).zip(acts) {
                match act {
                    Act::Admit => {
                        audience.admit(viewer(slot));
                        model.insert(viewer(slot), (true, 0));
                    }
                    Act::Retire(which) => {
                        let leaver = model.keys().nth(which % model.len().max(1)).copied();
                        if let Some(leaver) = leaver {
                            let any_due = model.values().any(|(due, _)| *due);
                            model.remove(&leaver);
                            audience.retire(leaver);
                            model.values_mut().for_each(|(due, _)| *due |= any_due);
                        }
                    }
                    Act::Alert => {
                        audience.alert();
                        model.values_mut().for_each(|(due, _)| *due = true);
                    }
                    Act::Visit => {
                        let turn = audience.turn();
                        prop_assert_eq!(turn.is_some(), model.values().any(|(due, _)| *due));
                        let Some(turn) = turn else { continue };
                        prop_assert!(model[&turn].0, "{:?} has no turn", turn);
                        for (due, waited) in model.values_mut() {
                            *waited += usize::from(*due);
                        }
                        model.insert(turn, (false, 0));
                        audience.done();
                    }
                }
                most = most.max(model.len());
                prop_assert_eq!(audience.len(), model.len());
                let longest = model.values().map(|(_, waited)| *waited).max();
                prop_assert!(longest.unwrap_or(0) <= 2 * most, "somebody starves");
            }
            let due = model.values().filter(|(due, _)| *due).count();
            prop_assert_eq!(round(&mut audience).len(), due);
        }
    }
}
