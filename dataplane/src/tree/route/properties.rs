//! Properties of the route of a track, for subscribers, targets and origins that come and go in any order.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::key::{LinkId, SessionIndex};
use crate::properties::config;

const HERE: ShardId = ShardId(0);
const SUBSCRIBERS: usize = 4;

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn the_source_knows_what_is_needed_and_nothing_goes_back_to_it(steps in vec(step(), 1..80)) {
        let mut route = TrackRoute::default();
        let (mut subscribers, mut targets) = ([LayerSet::NONE; SUBSCRIBERS], HashMap::new());
        let (mut origin, mut home, mut known) = (None, None, None);
        for step in steps {
            match step {
                Step::Needs(subscriber, layers) => {
                    let before = std::mem::replace(&mut subscribers[subscriber], layers);
                    route.count(before, layers);
                }
                Step::Demand(target, layers) => {
                    let is_source = (origin, target) == (Some(Origin::Link(LINK)), Target::Link(LINK));
                    let is_taken = origin.is_some() && !is_source;
                    prop_assert_eq!(route.set_demand(target, layers), is_taken);
                    if is_taken && layers.is_empty() {
                        targets.remove(&name(target));
                    } else if is_taken {
                        targets.insert(name(target), (target, layers));
                    }
                }
                Step::Enter(new) => {
                    route.enter(new);
                    origin = Some(new);
                    if new == Origin::Link(LINK) {
                        targets.remove(&name(Target::Link(LINK)));
                    }
                }
                Step::Leave => {
                    prop_assert_eq!(route.leave().len(), targets.len());
                    targets.clear();
                    origin = None;
                }
                Step::Home(new) => {
                    route.set_home(new);
                    (home, known) = (new, None);
                }
            }
            let local = subscribers.iter().fold(LayerSet::NONE, |all, layers| all.union(*layers));
            let demand = targets.values().fold(local, |all, (_, layers)| all.union(*layers));
            prop_assert_eq!(route.needed(), local);
            let mut layers = (0..MAX_LAYERS as u8).map(LayerIndex);
            prop_assert!(layers.all(|layer| route.is_needed(layer) == demand.contains(layer)));
            prop_assert_eq!(route.targets().len(), targets.len());
            prop_assert!(route.targets().iter().all(|found| targets.get(&name(found.0)) == Some(found)));
            let source = origin.map(Source::from).or(home.filter(|home| *home != HERE).map(Source::Shard));
            prop_assert_eq!(route.source(HERE), source);
            // A report is about the whole demand, and is made when the source does not know it.
            match route.changed_demand(HERE) {
                Some((to, layers)) => {
                    prop_assert_eq!((Some(to), layers), (source, demand));
                    prop_assert_ne!(known.unwrap_or(LayerSet::NONE), demand);
                    known = Some(demand);
                }
                None => {
                    let is_silent = matches!(source, None | Some(Source::Session(_)));
                    prop_assert!(is_silent || known.unwrap_or(LayerSet::NONE) == demand);
                }
            }
        }
    }
}

const LINK: LinkId = LinkId(4);

#[derive(Debug, Clone)]
enum Step {
    /// A subscriber of this shard needs these layers.
    Needs(usize, LayerSet),
    /// A target needs these layers.
    Demand(Target, LayerSet),
    Enter(Origin),
    Leave,
    Home(Option<ShardId>),
}

/// A target as a key of a map.
fn name(target: Target) -> (bool, u32) {
    match target {
        Target::Shard(shard) => (false, u32::from(shard.0)),
        Target::Link(link) => (true, link.0),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let layers = || {
        vec(0..MAX_LAYERS as u8, 0..3)
            .prop_map(|layers| layers.into_iter().map(LayerIndex).collect())
    };
    let target = prop_oneof![
        (1..3_u16).prop_map(|shard| Target::Shard(ShardId(shard))),
        prop::sample::select(vec![LINK, LinkId(5)]).prop_map(Target::Link),
    ];
    let origin = prop::sample::select(vec![Origin::Session(SessionIndex(3)), Origin::Link(LINK)]);
    prop_oneof![
        6 => (0..SUBSCRIBERS, layers()).prop_map(|(subscriber, layers)| Step::Needs(subscriber, layers)),
        6 => (target, layers()).prop_map(|(target, layers)| Step::Demand(target, layers)),
        2 => origin.prop_map(Step::Enter),
        1 => Just(Step::Leave),
        2 => prop::option::of((0..3_u16).prop_map(ShardId)).prop_map(Step::Home),
    ]
}
