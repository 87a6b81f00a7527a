//! The subscriptions of a session, by index.

use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::key::SubscriptionIndex;
use crate::media::subscription::Subscription;

/// Subscriptions of one session. An index is reused after its subscription ended.
#[derive(Default)]
pub struct Subscriptions(Slab<Subscription>);

impl Subscriptions {
    /// Adds a subscription and returns its index.
    pub fn insert(&mut self, subscription: Subscription) -> SubscriptionIndex {
        named(self.0.insert(subscription))
    }

    /// Removes the subscription at `index`, which must exist.
    pub fn remove(&mut self, index: SubscriptionIndex) -> Subscription {
        self.0.remove(index.0 as usize)
    }

    /// The subscription at `index`, if it exists.
    pub fn get_mut(&mut self, index: SubscriptionIndex) -> Option<&mut Subscription> {
        self.0.get_mut(index.0 as usize)
    }

    /// All subscriptions with their indices.
    pub fn iter(&self) -> impl Iterator<Item = (SubscriptionIndex, &Subscription)> {
        self.0.iter().map(|(index, one)| (named(index), one))
    }

    /// All subscriptions with their indices, mutable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SubscriptionIndex, &mut Subscription)> {
        self.0.iter_mut().map(|(index, one)| (named(index), one))
    }

    /// Indices of all subscriptions.
    pub fn indices(&self) -> Vec<SubscriptionIndex> {
        self.iter().map(|(index, _)| index).collect()
    }

    /// Number of subscriptions of the session.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no subscription.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn named(index: usize) -> SubscriptionIndex {
    SubscriptionIndex(u32::try_from(index).expect("MAX_SUBSCRIPTIONS_PER_SESSION fits"))
}

impl Index<SubscriptionIndex> for Subscriptions {
    type Output = Subscription;

    fn index(&self, index: SubscriptionIndex) -> &Subscription {
        &self.0[index.0 as usize]
    }
}

impl IndexMut<SubscriptionIndex> for Subscriptions {
    fn index_mut(&mut self, index: SubscriptionIndex) -> &mut Subscription {
        &mut self.0[index.0 as usize]
    }
}
