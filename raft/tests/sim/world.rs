//! The world: members, clients and the network between them, on one thread,
//! moved on step by step.

use crate::{
    chance::Chance,
    clients::Client,
    host,
    invariants::{
        Checked, acknowledged::Acknowledged, committed::Committed, completeness, digests::Digests,
        durable, history::History, leaders::Leaders, linearizable::Linearizable, quorum,
        revisions::Revisions, votes::Votes,
    },
    member::{Member, Members},
    net::{Net, Said},
    plan::{Plan, Wire},
    trace::{Shown, Trace},
};
use std::{collections::BTreeMap, sync::atomic::Ordering};

/// How far time moves at once, in microseconds.
const STEP: u64 = 5000;

pub struct World {
    pub plan: Plan,
    pub chance: Chance,
    pub now: u64,
    pub net: Net,
    pub members: Members,
    pub clients: Vec<Client>,
    /// No client begins anything.
    pub quiet: bool,
    /// When members that are down start again.
    pub starts: BTreeMap<u64, u64>,
    /// When members that were removed end at the latest.
    pub removals: BTreeMap<u64, u64>,
    pub highest_id: u64,
    pub is_calm: bool,
    /// Members that end in good order, and until when they may.
    pub stopping: BTreeMap<u64, u64>,
    pub next_fault_at: u64,
    pub answers: u64,
    pub linearizable: Linearizable,
    pub acknowledged: Acknowledged,
    leaders: Leaders,
    pub committed: Committed,
    digests: Digests,
    history: History,
    revisions: Revisions,
    votes: Votes,
}

/// How a run went.
pub struct Outcome {
    /// The hash of all that happened, and how many events and messages.
    pub trace: u64,
    pub events: u64,
    pub messages: u64,
    pub answers: u64,
    pub entries: usize,
    /// What was wrong.
    pub wrong: Option<String>,
}

impl World {
    pub fn new(seed: u64, shown: Shown) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::of(&mut chance);
        let net = Net::new(chance.fork(), plan.wire.clone(), Trace::new(shown));
        net.with(|inner| inner.note(format_args!("seed {seed}: {plan:?}")));
        let founders: Vec<u64> = (1..=plan.members).collect();
        let skew = |chance: &mut Chance| chance.between(1000 - plan.skew, 1000 + plan.skew + 1);
        let members = founders
            .iter()
            .map(|id| (*id, Member::new(*id, &founders, skew(&mut chance))));
        let members: Members = members.collect();
        let clients = (0..plan.clients)
            .map(|number| Client::new(number, chance.fork()))
            .collect();
        Self {
            now: 0,
            net,
            clients,
            quiet: false,
            starts: founders.iter().map(|id| (*id, 0)).collect(),
            stopping: BTreeMap::new(),
            removals: BTreeMap::new(),
            highest_id: plan.members,
            is_calm: false,
            next_fault_at: plan.faults_every,
            answers: 0,
            linearizable: Linearizable::default(),
            acknowledged: Acknowledged::default(),
            leaders: Leaders::default(),
            committed: Committed::default(),
            digests: Digests::default(),
            history: History::default(),
            revisions: Revisions::default(),
            votes: Votes::default(),
            members,
            chance,
            plan,
        }
    }

    pub fn note(&self, event: std::fmt::Arguments<'_>) {
        self.net.with(|inner| inner.note(event));
    }

    /// Lives the seed through.
    pub fn run(mut self) -> Outcome {
        let checked = self.faults_phase().and_then(|()| self.calm_phase());
        if let Err(wrong) = &checked {
            self.note(format_args!("WRONG: {wrong}"));
        }
        let (written, refused, unknown) = self.acknowledged.counts();
        self.note(format_args!(
            "{written} written, {refused} refused, {unknown} unknown"
        ));
        let entries = self.committed.entries().len();
        let (trace, events, messages) = self.net.with(|inner| {
            let (trace, events) = inner.trace.sum();
            (trace, events, inner.delivered)
        });
        let answers = self.answers;
        // The processes end as in a power cut.
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            self.crash(id);
        }
        Outcome {
            trace,
            events,
            messages,
            answers,
            entries,
            wrong: checked.err(),
        }
    }

    fn faults_phase(&mut self) -> Checked {
        while self.now < self.plan.faults_for {
            self.strike()?;
            self.step()?;
        }
        Ok(())
    }

    /// Nothing goes wrong any more: within ten election timeouts there is
    /// progress, and all are equal.
    fn calm_phase(&mut self) -> Checked {
        self.note(format_args!("calm"));
        self.net.heal(Wire {
            delay_min: 0,
            delay_max: 2000,
            lost: 0,
            twice: 0,
            breaks: 0,
        });
        self.is_calm = true;
        self.plan.crash_at_votes = 0;
        self.plan.disk.calm.store(true, Ordering::Relaxed);
        for member in self.members.values_mut() {
            member.paused_until = 0;
        }
        let down: Vec<u64> = self
            .members
            .values()
            .filter(|member| member.process.is_none())
            .map(|member| member.id)
            .collect();
        for id in down {
            self.starts.insert(id, self.now);
        }
        let election = self.plan.election_ms * 1000;
        let begun = self.now;
        let deadline = begun + 10 * election;
        let before = self.committed.entries().len();
        let writes = self.acknowledged.counts().0;
        while self.now < deadline {
            self.start_due()?;
            self.quiet = self.now > begun + 7 * election;
            self.step()?;
            let idle = self.clients.iter().all(Client::is_idle);
            if self.quiet && idle && self.are_equal() {
                break;
            }
        }
        if self.acknowledged.counts().0 <= writes || self.committed.entries().len() <= before {
            return Err("no progress within ten election timeouts after the last fault".into());
        }
        if !self.are_equal() {
            let states: Vec<_> = self
                .members
                .values()
                .map(|member| {
                    let view = member.node().map(|node| node.reads().view());
                    (
                        member.id,
                        view.map(|view| (view.applied(), view.state_digest())),
                    )
                })
                .collect();
            return Err(format!(
                "members are not equal ten election timeouts after the last fault: {states:?}"
            ));
        }
        self.acknowledged.check(&self.history)?;
        self.linearizable.check(&self.history)
    }

    fn are_equal(&self) -> bool {
        let Some(membership) = self.committed.membership() else {
            return false;
        };
        let mut states = membership.nodes().map(|(id, _)| {
            let view = self.members.get(id)?.node()?.reads().view();
            Some((view.applied()?, view.state_digest()))
        });
        let Some(Some(first)) = states.next() else {
            return false;
        };
        let all = self.committed.entries().len() as u64;
        first.0.index + 1 == all && states.all(|state| state == Some(first))
    }

    /// Starts a member.
    pub fn start(&mut self, id: u64) -> Checked {
        self.starts.remove(&id);
        self.note(format_args!("member {id} starts"));
        let chance = self.chance.fork();
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        member.start(&self.plan, &self.net, chance)?;
        durable::check(member, &self.committed)?;
        self.votes.check(member)
    }

    /// Everything moves on by one step.
    fn step(&mut self) -> Checked {
        self.now += STEP;
        host::set_time(self.now);
        self.net.deliver(self.now);
        let now = self.now;
        for member in self.members.values_mut() {
            if member.paused_until <= now {
                member.step(STEP);
            }
            if let Some(node) = member.opened()?
                && let Some(runtime) = member.runtime()
            {
                self.net.host(member.id, runtime, node.endpoint().clone());
            }
        }
        self.finish_stopping();
        self.hear()?;
        self.look()?;
        self.follow_membership()?;
        self.serve_clients()
    }

    /// The speed of one clock, in thousandths of the world's.
    pub fn clock_rate(&mut self) -> u64 {
        let skew = self.plan.skew;
        self.chance.between(1000 - skew, 1000 + skew + 1)
    }

    /// What has been said on the network.
    fn hear(&mut self) -> Checked {
        for said in self.net.take_said() {
            match said {
                Said::Leads { member, term } => self.lead(member, term)?,
                Said::Granted { member, term, node } => {
                    self.note(format_args!(
                        "member {member} votes for {node} in term {term}"
                    ));
                    self.votes.granted(member, term, node)?;
                    if self.chance.permille(self.plan.crash_at_votes) {
                        self.crash(member);
                    }
                }
            }
        }
        Ok(())
    }

    fn lead(&mut self, member: u64, term: u64) -> Checked {
        if self.leaders.leads(member, term)? {
            self.note(format_args!("member {member} leads term {term}"));
            if let Some(member) = self.members.get(&member) {
                completeness::check(member, term, &self.committed)?;
            }
        }
        Ok(())
    }

    /// What members show.
    fn look(&mut self) -> Checked {
        for member in self.members.values() {
            if let Some(fault) = member.faults().first() {
                return Err(format!("member {}: {fault}", member.id));
            }
            let Some(node) = member.node() else { continue };
            let fresh = self.committed.look(member)?;
            quorum::check(&self.members, &self.committed, fresh)?;
            let view = node.reads().view();
            self.digests.look(member.id, &view)?;
            self.revisions
                .look(member.id, member.life, view.revision())?;
            self.history.look(member.id, member.life, &view)?;
            let standing = *node.leadership().borrow();
            if standing.leads {
                self.leaders.reported(member.id, standing.term)?;
            }
        }
        Ok(())
    }
}
