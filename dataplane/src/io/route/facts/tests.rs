//! Kernel messages about rules, routes and neighbours, and the facts read from them.

use netlink_packet_route::rule::RuleHeader;

use super::*;

fn attributes(to: [u8; 4], priority: u32) -> Vec<RouteAttribute> {
    vec![
        RouteAttribute::Destination(RouteAddress::Inet(to.into())),
        RouteAttribute::Oif(2),
        RouteAttribute::Gateway(RouteAddress::Inet([192, 0, 2, 1].into())),
        RouteAttribute::Priority(priority),
    ]
}

fn route(attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = 24;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.kind = RouteType::Unicast;
    message.attributes = attributes;
    message
}

fn is_plain_route(message: &RouteMessage) -> bool {
    read_route(message).unwrap().1.target != RouteTarget::Kernel
}

#[test]
fn a_route_through_one_router_is_plain_and_others_are_not() {
    let plain = || route(attributes([198, 51, 100, 0], 0));
    assert!(is_plain_route(&plain()));
    let more = [
        RouteAttribute::MultiPath(Vec::new()),
        RouteAttribute::NhId(7),
        RouteAttribute::Encap(Vec::new()),
        RouteAttribute::Gateway(RouteAddress::Other(vec![1])),
    ];
    for attribute in more {
        let mut other = plain();
        other.attributes.push(attribute);
        assert!(!is_plain_route(&other), "{other:?}");
    }
    let changes: [fn(&mut RouteHeader); 5] = [
        |header| header.kind = RouteType::BlackHole,
        |header| header.table = TABLE_DEFAULT,
        |header| header.tos = 4,
        |header| header.source_prefix_length = 8,
        |header| header.flags = RouteFlags::Linkdown,
    ];
    for change in changes {
        let mut other = plain();
        change(&mut other.header);
        assert!(!is_plain_route(&other), "{other:?}");
    }
}

#[test]
fn of_routes_to_one_prefix_the_first_priority_counts_and_a_tie_is_the_kernels() {
    let read = |to, priority| read_route(&route(attributes(to, priority))).unwrap();
    let (a, b) = ([198, 51, 100, 0], [203, 0, 113, 0]);
    let mut second = read(a, 200);
    second.1.target = RouteTarget::Kernel;
    let best = best(vec![second, read(b, 5), read(a, 100), read(b, 5)]);
    let ways: Vec<bool> = best
        .iter()
        .map(|route| route.target != RouteTarget::Kernel)
        .collect();
    assert_eq!(best.len(), 2);
    assert_eq!(ways, [true, false]);
}

#[test]
fn only_tables_that_are_asked_count() {
    let of_table = |table, priority| {
        let mut route = route(attributes([198, 51, 100, 0], priority));
        route.header.table = table;
        RouteNetlinkMessage::NewRoute(route)
    };
    let mut facts = Facts::default();
    facts.sort(&[of_table(100, 1), of_table(RouteHeader::RT_TABLE_MAIN, 5)]);
    assert!(facts.local.is_empty());
    assert_eq!(facts.routes.len(), 1);
    assert_ne!(
        facts.routes[0].target,
        RouteTarget::Kernel,
        "what nobody asks takes nothing away"
    );
    facts.sort(&[of_table(TABLE_LOCAL, 0)]);
    assert_eq!((facts.local.len(), facts.routes.len()), (1, 0));
}

#[test]
fn a_route_for_some_sources_makes_its_prefix_the_kernels() {
    let mut some = route(attributes([198, 51, 100, 0], 1_024));
    some.header.source_prefix_length = 56;
    let all = route(attributes([198, 51, 100, 0], 512));
    let best = best([all, some].iter().filter_map(read_route).collect());
    assert_eq!(best.len(), 1);
    assert_eq!(best[0].target, RouteTarget::Kernel);
}

#[test]
fn neighbours_of_other_programs_are_not_kept_fresh_by_us() {
    let mut message = NeighbourMessage::default();
    message.header.state = NeighbourState::Stale;
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet([192, 0, 2, 1].into())),
        NeighbourAttribute::LinkLayerAddress(vec![2; 6]),
    ];
    assert_eq!(read_neighbour(&message).unwrap().reach, Reachability::Stale);
    message.header.flags = NeighbourFlags::ExtLearned;
    assert_eq!(read_neighbour(&message), None);
    message.header.state = NeighbourState::Permanent;
    assert_eq!(read_neighbour(&message).unwrap().reach, Reachability::Fresh);
}

#[test]
fn rules_that_choose_are_not_plain() {
    let usual = || {
        let mut rule = RuleMessage::default();
        rule.header.family = AddressFamily::Inet;
        rule.header.table = RouteHeader::RT_TABLE_MAIN;
        rule.header.action = RuleAction::ToTable;
        rule.attributes = vec![RuleAttribute::Table(254), RuleAttribute::Priority(32_766)];
        rule
    };
    assert!(is_plain(&RouteNetlinkMessage::NewRule(usual())));
    let changes: [fn(&mut RuleHeader); 4] = [
        |header| header.flags = RuleFlags::Invert,
        |header| header.src_len = 24,
        |header| header.table = 100,
        |header| header.action = RuleAction::Blackhole,
    ];
    for change in changes {
        let mut rule = usual();
        change(&mut rule.header);
        assert!(!is_plain(&RouteNetlinkMessage::NewRule(rule)));
    }
    let mut marked = usual();
    marked.attributes.push(RuleAttribute::FwMark(1));
    assert!(!is_plain(&RouteNetlinkMessage::NewRule(marked)));
}

#[test]
fn the_kernel_is_understood() {
    let facts = Facts::read(&mut Netlink::open(&[]).unwrap()).unwrap();
    if let Some(why) = facts.left_out {
        eprintln!("skipped: on this host {why}");
        return;
    }
    let loopback = |local: &&Local| local.to == IpAddr::from([127, 0, 0, 1]);
    let own = facts.local.iter().find(loopback).expect("it has one");
    assert!((own.length, own.is_own) == (32, true), "{own:?}");
}
