//! State of a track on one shard: its source, the layers needed by subscribers, shards and links, and the targets of
//! copies.

use std::time::Instant;

use spillway_mutants::{Mutant, is_planted};

use super::keyframes::Keyframes;
use super::source::{Origin, Source, Target};
use crate::key::{LayerIndex, LayerSet, ShardId};
use crate::limits::MAX_LAYERS;

/// Source, demand and targets of one track on one shard.
#[derive(Debug, Default)]
pub struct TrackRoute {
    /// The shard where the track enters the node; `None` while it is not published.
    home: Option<ShardId>,
    /// How the track enters the node, if that is on this shard.
    origin: Option<Origin>,
    /// Targets of copies from here, with their layers; empty if the track does not enter the node here.
    targets: Vec<(Target, LayerSet)>,
    /// Number of subscribers of this shard that need each layer.
    local: [u32; MAX_LAYERS],
    /// The needed layers that were last reported to the source.
    reported: LayerSet,
    keyframes: Keyframes,
}

impl TrackRoute {
    /// The shard where the track enters the node.
    pub fn home(&self) -> Option<ShardId> {
        self.home
    }

    /// How the track enters the node, if that is on this shard.
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// Sets the shard where the track enters the node. The needed layers will be reported to it.
    pub fn set_home(&mut self, home: Option<ShardId>) {
        self.home = home;
        if !is_planted(Mutant::NewHomeHearsNoDemand) {
            self.reported = LayerSet::NONE;
        }
    }

    /// The track enters the node here. Existing targets stay.
    pub fn enter(&mut self, origin: Origin) {
        self.origin = Some(origin);
        if let Origin::Link(link) = origin {
            // A node gets no copies of a track that it sends.
            self.targets
                .retain(|(target, _)| *target != Target::Link(link));
        }
    }

    /// The track no longer enters the node here. Returns its targets.
    pub fn leave(&mut self) -> Vec<(Target, LayerSet)> {
        self.origin = None;
        self.keyframes.left();
        std::mem::take(&mut self.targets)
    }

    /// The source that shard `here` gets the track from.
    pub fn source(&self, here: ShardId) -> Option<Source> {
        let home = self.home.filter(|home| *home != here);
        let origin = self.origin.map(Source::from);
        origin.or(home.map(Source::Shard))
    }

    /// The layers that subscribers of this shard need.
    pub fn needed(&self) -> LayerSet {
        let needed = (0..).zip(self.local).filter(|(_, count)| *count > 0);
        needed.map(|(layer, _)| LayerIndex(layer)).collect()
    }

    /// True when a subscriber of this shard or a target needs `layer`.
    pub fn is_needed(&self, layer: LayerIndex) -> bool {
        self.demand().contains(layer)
    }

    /// Updates the counts: a subscriber of this shard now needs `after` instead of `before`.
    pub fn count(&mut self, before: LayerSet, after: LayerSet) {
        for (index, count) in self.local.iter_mut().enumerate() {
            let layer = LayerIndex(index as u8);
            match (before.contains(layer), after.contains(layer)) {
                (false, true) => *count += 1,
                (true, false) => *count -= 1,
                (true, true) | (false, false) => {}
            }
        }
    }

    /// Sets the layers that `target` needs. False if the track does not enter the node here, or comes from `target`.
    pub fn set_demand(&mut self, target: Target, layers: LayerSet) -> bool {
        let is_source = match (self.origin, target) {
            (None, _) => true,
            (Some(Origin::Link(from)), Target::Link(to)) => from == to,
            (Some(_), _) => false,
        };
        if is_source {
            return false;
        }
        self.targets.retain(|(known, _)| *known != target);
        if !layers.is_empty() {
            self.targets.push((target, layers));
        }
        true
    }

    /// Targets of copies, with their layers.
    pub fn targets(&self) -> &[(Target, LayerSet)] {
        &self.targets
    }

    /// The source and the needed layers to report, if these changed. Nothing is reported to a publisher on this shard:
    /// it sends all its layers.
    pub fn changed_demand(&mut self, here: ShardId) -> Option<(Source, LayerSet)> {
        let source = self.source(here)?;
        if let Source::Session(_) = source {
            return None;
        }
        let demand = self.demand();
        let has_changed = std::mem::replace(&mut self.reported, demand) != demand;
        has_changed.then_some((source, demand))
    }

    /// Requests a keyframe of `layer`. Returns the source to send a request to now, if any.
    pub fn request_keyframe(
        &mut self,
        layer: LayerIndex,
        here: ShardId,
        now: Instant,
    ) -> Option<Source> {
        let source = self.source(here)?;
        let asks = self.keyframes.request(source, layer, now);
        asks.then_some(source)
    }

    /// The source and layers of requests that must be repeated.
    pub fn due_keyframes(
        &mut self,
        here: ShardId,
        now: Instant,
    ) -> Option<(Source, Vec<LayerIndex>)> {
        let source = self.source(here);
        let due = self.keyframes.due(source, self.needed(), now);
        Some((source?, due))
    }

    /// Pending keyframe requests of the track.
    pub fn keyframes(&mut self) -> &mut Keyframes {
        &mut self.keyframes
    }

    fn demand(&self) -> LayerSet {
        let targets = self.targets.iter().map(|(_, layers)| *layers);
        targets.fold(self.needed(), LayerSet::union)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::{LinkId, SessionIndex, TrackKey};
    use crate::limits::{KEYFRAME_INTERVAL, KEYFRAME_RETRY};
    use crate::tree::source::home_of_import;

    const HERE: ShardId = ShardId(0);
    const THERE: ShardId = ShardId(1);
    const LINK: LinkId = LinkId(4);
    const OTHER: LinkId = LinkId(5);

    fn set(layers: &[u8]) -> LayerSet {
        layers.iter().copied().map(LayerIndex).collect()
    }

    fn entering(origin: Origin) -> TrackRoute {
        let mut route = TrackRoute::default();
        route.enter(origin);
        route.set_home(Some(HERE));
        route
    }

    #[test]
    fn demand_is_reported_to_the_home_once_and_again_when_it_changes() {
        let mut route = TrackRoute::default();
        route.count(LayerSet::NONE, set(&[0]));
        assert_eq!(route.changed_demand(HERE), None, "nobody publishes it");
        route.set_home(Some(THERE));
        let report = |layers: &[u8]| Some((Source::Shard(THERE), set(layers)));
        assert_eq!(route.changed_demand(HERE), report(&[0]));
        assert_eq!(route.changed_demand(HERE), None);
        route.count(LayerSet::NONE, set(&[0, 2]));
        assert_eq!(route.changed_demand(HERE), report(&[0, 2]));
        route.count(set(&[0]), LayerSet::NONE);
        assert_eq!(
            route.changed_demand(HERE),
            None,
            "the other one needs it still"
        );
        route.count(set(&[0, 2]), LayerSet::NONE);
        assert_eq!(route.changed_demand(HERE), report(&[]));
        route.count(LayerSet::NONE, set(&[1]));
        route.changed_demand(HERE);
        route.set_home(Some(THERE)); // it moved away and came back
        assert_eq!(route.changed_demand(HERE), report(&[1]), "it has forgotten");
    }

    #[test]
    fn a_link_gets_the_demand_of_the_whole_node_and_a_publisher_none() {
        let mut route = entering(Origin::Session(SessionIndex(3)));
        route.count(LayerSet::NONE, set(&[1]));
        assert!(route.set_demand(Target::Shard(THERE), set(&[0])));
        assert_eq!(route.changed_demand(HERE), None);
        route.enter(Origin::Link(LINK));
        let report = |layers: &[u8]| Some((Source::Link(LINK), set(layers)));
        assert_eq!(route.changed_demand(HERE), report(&[0, 1]));
        assert!(route.set_demand(Target::Link(OTHER), set(&[2])));
        assert_eq!(
            route.changed_demand(HERE),
            report(&[0, 1, 2]),
            "it is passed on"
        );
        assert!(route.set_demand(Target::Shard(THERE), LayerSet::NONE));
        assert_eq!(route.changed_demand(HERE), report(&[1, 2]));
        assert!((0..3).all(|layer| route.is_needed(LayerIndex(layer)) == (layer > 0)));
    }

    #[test]
    fn nothing_goes_back_to_where_it_comes_from() {
        let mut route = TrackRoute::default();
        let target = Target::Link(LINK);
        assert!(
            !route.set_demand(target, set(&[0])),
            "it does not enter here"
        );
        route.enter(Origin::Session(SessionIndex(3)));
        assert!(route.set_demand(target, set(&[0])));
        assert!(route.set_demand(Target::Link(OTHER), set(&[0])));
        route.enter(Origin::Link(LINK));
        assert_eq!(route.targets(), [(Target::Link(OTHER), set(&[0]))]);
        assert!(!route.set_demand(target, set(&[0])));
        assert_eq!(route.leave().len(), 1);
        assert!(route.targets().is_empty() && route.origin().is_none());
    }

    #[test]
    fn a_keyframe_is_asked_of_the_source_and_again_while_it_is_needed() {
        let start = Instant::now();
        let layer = LayerIndex(1);
        let table = [
            (
                Some(Origin::Session(SessionIndex(3))),
                HERE,
                KEYFRAME_INTERVAL,
            ),
            (Some(Origin::Link(LINK)), HERE, KEYFRAME_INTERVAL),
            (None, THERE, KEYFRAME_RETRY),
        ];
        for (origin, home, pause) in table {
            let mut route = TrackRoute::default();
            if let Some(origin) = origin {
                route.enter(origin);
            }
            route.set_home(Some(home));
            route.count(LayerSet::NONE, set(&[1]));
            let source = route.source(HERE);
            assert!(source.is_some());
            assert_eq!(route.request_keyframe(layer, HERE, start), source);
            assert_eq!(
                route.request_keyframe(layer, HERE, start),
                None,
                "it was asked"
            );
            let early = start + pause - Duration::from_millis(1);
            assert_eq!(
                route.due_keyframes(HERE, early),
                Some((source.unwrap(), vec![]))
            );
            let late = start + KEYFRAME_RETRY;
            assert_eq!(
                route.due_keyframes(HERE, late),
                Some((source.unwrap(), vec![layer]))
            );
            assert!(route.keyframes().is_waiting());
            route.keyframes().entered(layer);
            route.keyframes().arrived(layer);
            assert!(!route.keyframes().is_waiting());
            let later = late + KEYFRAME_RETRY;
            assert_eq!(
                route.due_keyframes(HERE, later),
                Some((source.unwrap(), vec![]))
            );
        }
    }

    #[test]
    fn a_keyframe_request_without_demand_is_not_repeated() {
        let start = Instant::now();
        let mut route = TrackRoute::default();
        route.set_home(Some(THERE));
        route.request_keyframe(LayerIndex(0), HERE, start);
        let late = start + KEYFRAME_RETRY;
        assert_eq!(
            route.due_keyframes(HERE, late),
            Some((Source::Shard(THERE), vec![]))
        );
        assert!(!route.keyframes().is_waiting());
        route.set_home(None);
        assert_eq!(route.request_keyframe(LayerIndex(0), HERE, late), None);
        assert!(!route.keyframes().is_waiting(), "there is nobody to ask");
    }

    #[test]
    fn imports_spread_over_the_shards_and_stay_where_they_are() {
        let mut counts = [0; 8];
        for key in 0..8_000 {
            let home = home_of_import(TrackKey(key), 8);
            assert_eq!(home, home_of_import(TrackKey(key), 8));
            counts[home.index()] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1_100).contains(count)),
            "{counts:?}"
        );
        assert_eq!(home_of_import(TrackKey(9), 1), HERE);
    }
}
