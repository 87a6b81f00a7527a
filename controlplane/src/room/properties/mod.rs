//! Properties of a room: any requests, socket losses, events of nodes, results of commands and
//! answers of the store, in any order.

mod client; // a client, and what it knows
mod node; // a node with its sessions
mod step; // what can happen
mod world; // the room with everything around it
mod people; // joins, resumes and requests
mod store; // answers of the store, and another server
mod commands; // commands to nodes and events of sessions
mod check; // what must hold
mod cases; // inputs that found bugs

use proptest::prelude::*;

use step::{Step, steps};
use world::World;

use crate::properties::config;

proptest! {
    #![proptest_config(config(2_048))]

    #[test]
    fn clients_know_the_room_and_nothing_remains_of_it(steps in steps(false), is_prompt in any::<bool>()) {
        live(false, is_prompt, &steps);
    }

    #[test]
    fn a_room_of_several_servers_is_known_to_its_clients_and_ends(steps in steps(true), is_prompt in any::<bool>()) {
        live(true, is_prompt, &steps);
    }
}

/// Plays the steps, lets everything settle, and ends the room. If it `is_prompt`, the store and the
/// nodes answer after every step.
fn live(is_shared: bool, is_prompt: bool, steps: &[Step]) {
    let mut world = World::new(is_shared);
    for step in steps {
        world.play(step);
        if is_prompt {
            world.answer();
        }
        world.check();
    }
    world.settle();
    world.check_settled();
    world.end();
    world.check_empty();
}
