//! What goes wrong, and when.

use crate::{invariants::Checked, plan::Wire, world::World};

/// What the network and the power do to the members.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Crash,
    CrashMost,
    CrashAll,
    Isolate,
    OneWay,
    Halves,
    Ring,
    Clog,
    Pause,
    Heal,
    Transfer,
    Stop,
    Change,
}

const FAULTS: [Fault; 20] = [
    Fault::Crash,
    Fault::Crash,
    Fault::CrashMost,
    Fault::CrashAll,
    Fault::Isolate,
    Fault::Isolate,
    Fault::OneWay,
    Fault::Halves,
    Fault::Ring,
    Fault::Clog,
    Fault::Pause,
    Fault::Heal,
    Fault::Heal,
    Fault::Transfer,
    Fault::Transfer,
    Fault::Stop,
    Fault::Change,
    Fault::Change,
    Fault::Change,
    Fault::Change,
];

impl World {
    /// What is to happen now.
    pub fn strike(&mut self) -> Checked {
        self.start_due()?;
        if self.now < self.next_fault_at {
            return Ok(());
        }
        let mean = self.plan.faults_every;
        self.next_fault_at = self.now + self.chance.between(mean / 4, mean * 2);
        let fault = self.chance.pick(&FAULTS);
        self.note(format_args!("fault: {fault:?}"));
        self.happen(fault);
        Ok(())
    }

    /// The members that lead, as far as they know, or any.
    fn target(&mut self) -> u64 {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        let leads = |id: &u64| {
            let node = self.members[id].node();
            node.is_some_and(|node| node.leadership().borrow().leads)
        };
        let leaders: Vec<u64> = ids.iter().copied().filter(leads).collect();
        match leaders.is_empty() || self.chance.permille(400) {
            true => self.chance.pick(&ids),
            false => self.chance.pick(&leaders),
        }
    }

    fn happen(&mut self, fault: Fault) {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        let target = self.target();
        let later = |world: &mut Self, max: u64| world.now + world.chance.between(max / 20, max);
        match fault {
            Fault::Crash => self.crash(target),
            Fault::CrashMost => {
                for id in self.chance.some(&ids, ids.len() / 2 + 1) {
                    self.crash(id);
                }
            }
            Fault::CrashAll => ids.iter().for_each(|id| self.crash(*id)),
            Fault::Isolate => self.part(&ids, |id| id == target),
            Fault::OneWay => {
                let away = self.chance.permille(500);
                let others = ids.iter().filter(|id| **id != target);
                let links: Vec<_> = others
                    .map(|id| if away { (target, *id) } else { (*id, target) })
                    .collect();
                self.net.with(|inner| inner.cut.extend(links));
            }
            Fault::Halves => {
                let one = self.chance.some(&ids, ids.len() / 2);
                self.part(&ids, |id| one.contains(&id));
            }
            Fault::Ring => {
                // Each one reaches its neighbours only.
                let count = ids.len();
                for at in 0..count {
                    let far = (0..count).filter(|to| {
                        (at + 1) % count != *to && (*to + 1) % count != at && *to != at
                    });
                    let links: Vec<_> = far.map(|to| (ids[at], ids[to])).collect();
                    self.net.with(|inner| inner.cut.extend(links));
                }
            }
            Fault::Clog => {
                let other = self.chance.pick(&ids);
                let until = later(self, 5_000_000);
                self.net
                    .with(|inner| inner.clogs.insert((target, other), until));
            }
            Fault::Pause => {
                let until = later(self, 5_000_000);
                if let Some(member) = self.members.get_mut(&target) {
                    member.paused_until = until;
                }
            }
            Fault::Heal => {
                let wire: Wire = self.plan.wire.clone();
                self.net.heal(wire);
            }
            Fault::Transfer => {
                let to = self.chance.pick(&ids);
                let member = &self.members[&target];
                if let Some((node, runtime)) = member.node().cloned().zip(member.runtime()) {
                    runtime.spawn(async move { node.transfer_leader(to).await });
                }
            }
            Fault::Stop => self.stop(target),
            Fault::Change => self.change_members(target),
        }
    }

    /// Cuts the links between some and the others.
    fn part(&mut self, ids: &[u64], one: impl Fn(u64) -> bool) {
        let pairs = ids
            .iter()
            .flat_map(|from| ids.iter().map(move |to| (*from, *to)));
        let cut: Vec<_> = pairs.filter(|(from, to)| one(*from) != one(*to)).collect();
        self.net.with(|inner| inner.cut.extend(cut));
    }

    /// The power of one member goes; it comes back after a while.
    pub fn crash(&mut self, id: u64) {
        let arrived = self.plan.arrived;
        let all = self.chance.permille(500);
        let back = self.now + self.chance.between(10_000, 3_000_000);
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if member.process.is_none() {
            return;
        }
        member.crash(&self.net, &mut self.chance, arrived, all);
        member.paused_until = 0;
        self.starts.insert(id, back);
        self.note(format_args!(
            "member {id} crashes, state {}",
            if all { "kept" } else { "as flushed" }
        ));
    }

    /// One member ends in good order, as far as that goes within a while.
    fn stop(&mut self, id: u64) {
        let Some(process) = self
            .members
            .get_mut(&id)
            .and_then(|member| member.process.as_mut())
        else {
            return;
        };
        if let (Some(stop), Some(_)) = (&process.stop, &process.node) {
            stop.begin();
            let deadline = self.now + 3_000_000;
            self.stopping.insert(id, deadline);
        }
    }

    /// Ends those that have been asked to.
    pub fn finish_stopping(&mut self) {
        for (id, deadline) in self.stopping.clone() {
            let Some(process) = self
                .members
                .get_mut(&id)
                .and_then(|member| member.process.as_mut())
            else {
                self.stopping.remove(&id);
                continue;
            };
            let ended = process.stop.as_ref().is_some_and(|stop| stop.has_ended());
            if !ended && self.now < deadline {
                continue;
            }
            self.stopping.remove(&id);
            if ended && let Some(stop) = process.stop.take() {
                stop.finish(&process.log);
            }
            self.crash(id);
        }
    }

    /// Starts those whose power is back.
    pub fn start_due(&mut self) -> Checked {
        let now = self.now;
        let due: Vec<u64> = self
            .starts
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.start(id)?;
        }
        Ok(())
    }
}
