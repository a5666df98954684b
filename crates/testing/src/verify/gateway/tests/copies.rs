//! Copies for the target of a tenant.

use super::*;

#[test]
fn missing_repeated_and_forbidden_copies_are_found() {
    use FindingKind::{Duplicated, Leaked, Lost, WrongLedger};

    let [first, second] = PLAIN;
    let mut world = world();
    let target = world.members.iter().position(Member::is_target);
    let target = target.expect("targets are members");
    let name = world.members[target].parts[0].1.clone();
    world.members[first].also.push(name);
    // Nothing is added or removed, as for the tenants.
    world.members[target].backend = world.members[first].backend;
    world.members[target].has_key_in_vault = true;
    world.rules[target].is_plain = true;
    let mut delivery = Delivery::in_world(world);
    let selector = delivery.world.members[target].selector();
    // Copied requests, and what the gateway reports as delivered and dropped.
    let deliveries: [(&[usize], u64, u64, &[FindingKind]); 6] = [
        (&[0], 1, 0, &[]),
        (&[], 0, 1, &[]),
        (&[], 1, 0, &[Lost]),
        (&[0], 0, 0, &[WrongLedger]),
        (&[0, 0], 1, 0, &[Duplicated]),
        (&[0, 1], 1, 0, &[Leaked]),
    ];
    for (index, (copies, delivered, dropped, kinds)) in deliveries.into_iter().enumerate() {
        delivery.collector.clear();
        delivery.deliver(0, first);
        delivery.deliver(1, second);
        for request in copies {
            delivery.deliver(*request, target);
        }
        delivery.left.seen.delivered.insert(selector.clone(), delivered);
        delivery.left.seen.dropped.insert(selector.clone(), dropped);
        let found = delivery.kinds();
        let shown = || delivery.check().findings.first;
        assert_eq!(found, kinds.iter().copied().collect(), "{index}: {:?}", shown());
    }
}
