//! The API server is away for a while: killed and started again, or stopped and let go on. Meanwhile agents are killed and
//! started as ever, and everything is judged as before.

use std::time::{Duration, Instant};

use super::Driver;
use crate::wait_for;

/// How long the API server is away, in milliseconds; starting it again takes some seconds more.
const AWAY: (u64, u64) = (1_000, 12_000);
/// Until the next time, in milliseconds.
const BETWEEN: (u64, u64) = (5_000, 40_000);
/// By when a starting agent says that its policy is stale: it gives a silent server 10 s.
const SAID: Duration = Duration::from_mins(1);

/// How the API server goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// SIGKILL: nobody listens.
    Killed,
    /// SIGSTOP: connections open and nothing is answered; then it goes on.
    Stopped,
    /// The same, but it is killed in the end.
    StoppedAndKilled,
}

impl Driver<'_> {
    /// Whether the API server is to go now.
    pub(super) fn outage_is_due(&mut self) -> bool {
        self.store.plane().is_some() && Instant::now() >= self.next_outage
    }

    /// The API server goes, and comes back.
    pub(super) fn outage(&mut self) {
        let ending = *self
            .dice
            .pick(&[Ending::Killed, Ending::Stopped, Ending::StoppedAndKilled]);
        // A change may be on its way when the server goes: then nobody can say which of the two policies is in force.
        let changing = self.dice.chance(1, 2);
        if changing {
            self.change_rules();
            self.pause(0, 30);
        }
        let plane = self.store.plane().expect("an outage is of an API server");
        let began = Instant::now();
        if ending == Ending::Killed {
            plane.kill_api();
        } else {
            plane.stop_api();
        }
        let before = (!changing).then(|| self.cluster.generation());
        let until = began + Duration::from_millis(self.dice.between(AWAY.0, AWAY.1));
        while Instant::now() < until {
            match self.dice.between(0, 5) {
                0..=2 => self.kill_while_away(ending, before),
                3 if self.options.floods => self.flood(),
                _ => self.pause(100, 1_000),
            }
        }
        let plane = self.store.plane().expect("an outage is of an API server");
        match ending {
            Ending::Stopped => plane.continue_api(),
            Ending::StoppedAndKilled => {
                plane.kill_api();
                plane.start_api();
            }
            Ending::Killed => plane.start_api(),
        }
        self.observed.outage(ending == Ending::Stopped, began.elapsed());
        // An agent that waits for the server finds it by itself, and a new one at its first try.
        if self.dice.chance(1, 2) {
            self.kill_now();
            self.launch();
        }
        self.confirm();
        self.plan_outage();
    }

    /// Chooses when the API server goes next.
    pub(super) fn plan_outage(&mut self) {
        self.next_outage = Instant::now() + Duration::from_millis(self.dice.between(BETWEEN.0, BETWEEN.1));
    }

    /// SIGKILL, and the next agents without a server; the last one has to take over the policy of generation `before`.
    fn kill_while_away(&mut self, ending: Ending, before: Option<u64>) {
        self.kill_and_launch();
        let starts = self.observed.agents_started_away();
        // A silent server is waited for.
        let says_so = ending == Ending::Killed || starts.is_multiple_of(4);
        let taken_over = wait_for(SAID, || {
            let status = self.cluster.status()?;
            let stale = status["reason"] == "PolicyStale";
            (stale || !says_so).then_some((stale, status))
        });
        let Some((stale, status)) = taken_over else {
            panic!("no PolicyStale: {:?}\n{}", self.cluster.status(), self.cluster.log());
        };
        if stale {
            self.observed.stale();
        }
        let realised = status["generation_realised"].as_u64();
        assert!(
            before.is_none() || realised == before,
            "generation {before:?} was in force: {status}\n{}",
            self.cluster.log()
        );
    }
}
