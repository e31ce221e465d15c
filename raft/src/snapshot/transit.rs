//! Tells whoever observes this member of states on their way.

use crate::observer::{Observer, Way};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A state on its way. Given up, unless it has arrived before this is dropped.
pub(crate) struct Transit {
    observer: Arc<dyn Observer>,
    way: Way,
    begun: Instant,
    took: Option<Duration>,
}

impl Transit {
    pub(super) fn begin(observer: Arc<dyn Observer>, way: Way) -> Self {
        observer.state_leaves(way);
        Self {
            observer,
            way,
            begun: Instant::now(),
            took: None,
        }
    }

    /// It is where it should be.
    pub(crate) fn arrived(mut self) {
        self.took = Some(self.begun.elapsed());
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        self.observer.state_arrives(self.way, self.took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Told(Mutex<Vec<(Way, Option<bool>)>>);

    impl Observer for Told {
        fn state_leaves(&self, way: Way) {
            self.0.lock().push((way, None));
        }

        fn state_arrives(&self, way: Way, took: Option<Duration>) {
            self.0.lock().push((way, Some(took.is_some())));
        }

        fn fatal(&self, text: &str) {
            panic!("{text}");
        }
    }

    #[test]
    fn a_state_that_has_not_arrived_was_given_up() {
        let told = Arc::new(Told::default());
        let (to, from) = (Way::To(2), Way::From(1));
        Transit::begin(told.clone(), to).arrived();
        drop(Transit::begin(told.clone(), from));
        let expected = [
            (to, None),
            (to, Some(true)),
            (from, None),
            (from, Some(false)),
        ];
        assert_eq!(*told.0.lock(), expected);
    }
}
