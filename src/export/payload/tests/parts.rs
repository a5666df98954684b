//! Requests with a part of the spans.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::generated::request;
use super::*;
use crate::export::payload::parts::MAX_PARTS;

const KEY: &str = "tenant.id";

/// Returns a block with a resource whose attribute has these values, and a span of trace `trace`.
fn block(values: &[&[u8]], trace: u8) -> Vec<u8> {
    let attributes = values
        .iter()
        .map(|value| field(1, [field(1, KEY), field(2, value)].concat()));
    let resource = field(1, attributes.collect::<Vec<_>>().concat());
    let span = field(2, [field(1, [trace; 16]), field(2, [1; 8]), field(5, "name")].concat());
    field(1, [resource, field(2, span)].concat())
}

fn text(value: &str) -> Vec<u8> {
    field(1, value)
}

proptest! {
    #[test]
    fn slices_together_are_the_request(request in request(), cuts in vec(any::<Index>(), 0..4)) {
        let whole = payload(request);
        let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.spans() + 1)).collect();
        bounds.extend([0, whole.spans()]);
        bounds.sort_unstable();
        bounds.dedup();
        bounds.extend((whole.spans() == 0).then_some(0));
        let ranges: Vec<Range<usize>> = bounds.windows(2).map(|bound| bound[0]..bound[1]).collect();
        let slices: Vec<Bytes> = ranges.iter().map(|range| whole.slice(range.clone())).collect();
        let (expected, others) = leaves(whole.bytes());
        let mut found = Vec::new();
        for (slice, range) in slices.iter().zip(ranges) {
            prop_assert_eq!(payload(slice.clone()).spans(), range.len());
            let (of_slice, others_of_slice) = leaves(slice);
            found.extend(of_slice);
            prop_assert_eq!(&others_of_slice, &others);
        }
        prop_assert_eq!(found, expected);
        let decoded_slices = slices.iter().flat_map(|slice| split_up(&decoded(slice)));
        prop_assert_eq!(decoded_slices.collect::<Vec<_>>(), split_up(&decoded(whole.bytes())));
    }

    #[test]
    fn pieces_together_are_the_request(request in request(), max in 1..5_usize) {
        let whole = payload(request.clone());
        let (count, (expected, _)) = (whole.spans(), leaves(&request));
        let pieces = whole.pieces(max);
        prop_assert_eq!(pieces.len(), count.div_ceil(max).max(1));
        let mut found = Vec::new();
        for piece in &pieces {
            prop_assert_eq!(payload(piece.bytes().clone()).spans(), piece.spans());
            prop_assert!(piece.spans() <= max);
            found.extend(leaves(piece.bytes()).0);
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn one_request_of_several_has_their_blocks(requests in vec(request(), 2..4)) {
        let merged = requests.concat();
        let payloads: Vec<Payload> = requests.into_iter().map(payload).collect();
        let expected: Vec<_> = payloads.iter().flat_map(|payload| leaves(payload.bytes()).0).collect();
        prop_assert_eq!(leaves(&merged).0, expected);
        prop_assert_eq!(payload(merged).spans(), payloads.iter().map(Payload::spans).sum::<usize>());
    }

    #[test]
    fn retain_keeps_what_it_is_asked_to_keep(request in request(), kept in vec(any::<bool>(), 64)) {
        let (before, others) = leaves(&request);
        let mut answers = kept.iter().copied();
        let mut traces = Vec::new();
        let retained = payload(request.clone()).with_gzip(Bytes::from_static(b"gzip")).retain(|trace, size| {
            traces.push((trace.to_vec(), size));
            answers.next().expect("enough answers")
        });
        let mut answers = kept.iter();
        let expected: Vec<_> = before.into_iter().filter(|leaf| leaf.span.is_none() || *answers.next().expect("enough")).collect();
        prop_assert_eq!(retained.spans(), expected.iter().filter(|leaf| leaf.span.is_some()).count());
        prop_assert_eq!(leaves(retained.bytes()), (expected, others));
        let all = decoded(&request);
        let all: Vec<_> = all.resource_spans.iter().flat_map(|block| &block.scope_spans).flat_map(|scope| &scope.spans).collect();
        prop_assert_eq!(traces.iter().map(|(trace, _)| trace).collect::<Vec<_>>(), all.iter().map(|span| &span.trace_id).collect::<Vec<_>>());
        let is_changed = retained.spans() < all.len();
        prop_assert_eq!(retained.gzip().is_none(), is_changed);
        prop_assert_eq!(retained.bytes() == &request, !is_changed);
        prop_assert!(traces.iter().zip(all).all(|((_, size), span)| *size >= span.encoded_len()));
    }

    #[test]
    fn a_split_assigns_each_block_to_its_value(request in request()) {
        // Fields outside blocks cannot be assigned.
        let (blocks, _): (Vec<_>, Vec<_>) = wire::fields(&request, 0..request.len()).partition(|field| field.number == 1);
        let request: Vec<u8> = blocks.iter().flat_map(|block| request[block.whole.clone()].to_vec()).collect();
        let expected: Result<Vec<_>, ()> = decoded(&request).resource_spans.iter().map(|block| resource_text(block, KEY)).collect();
        let all = leaves(&request).0;
        match payload(request.clone()).split_by_resource(KEY) {
            Err(error) => {
                prop_assert!(expected.is_err(), "{error}");
                prop_assert!(error.to_string().ends_with("resource: more than one value of \"tenant.id\""), "{error}");
            }
            Ok(parts) => {
                let expected = expected.expect("no resource with several values");
                let mut order: Vec<&Option<String>> = expected.iter().collect();
                let mut seen = std::collections::HashSet::new();
                order.retain(|value| seen.insert(*value));
                if !order.is_empty() {
                    prop_assert_eq!(parts.iter().map(|(value, _)| value).collect::<Vec<_>>(), order);
                }
                prop_assert_eq!(parts.iter().map(|(_, part)| leaves(part.bytes()).0.len()).sum::<usize>(), all.len());
                for (value, part) in &parts {
                    let mut own = expected.iter();
                    let own = blocks.iter().filter(|_| own.next() == Some(value));
                    prop_assert_eq!(decoded(part.bytes()).resource_spans.len(), own.count());
                    prop_assert_eq!(payload(part.bytes().clone()).spans(), part.spans());
                    prop_assert!(decoded(part.bytes()).resource_spans.iter().all(|block| resource_text(block, KEY).as_ref() == Ok(value)));
                }
            }
        }
    }
}

#[test]
fn parts_of_a_split_are_in_order_and_own_their_bytes() {
    let number = [0x18, 5];
    let (acme, globex) = (text("acme"), text("globex"));
    let blocks = [
        block(&[&acme], 1),
        block(&[], 2),
        block(&[&globex], 3),
        block(&[&number], 4),
        block(&[&acme], 5),
    ];
    let parts = payload(blocks.concat()).split_by_resource(KEY).expect("one value each");
    let found: Vec<_> = parts
        .iter()
        .map(|(value, part)| (value.as_deref(), part.spans(), part.bytes().to_vec()))
        .collect();
    let expected = [
        (Some("acme"), 2, [&blocks[0][..], &blocks[4]].concat()),
        (None, 2, [&blocks[1][..], &blocks[3]].concat()),
        (Some("globex"), 1, blocks[2].clone()),
    ];
    assert_eq!(found, expected);
}

#[test]
fn one_part_is_the_unchanged_request() {
    let bytes = Bytes::from([block(&[&text("acme")], 1), block(&[&text("acme")], 2), vec![0xf8, 1, 1]].concat());
    let whole = payload(bytes.clone()).with_gzip(Bytes::from_static(b"gzip"));
    let [(value, only)] = &whole.split_by_resource(KEY).expect("one value")[..] else {
        panic!("several parts");
    };
    assert_eq!(
        (value.as_deref(), only.spans(), only.gzip().is_some()),
        (Some("acme"), 2, true)
    );
    assert_eq!(only.bytes().as_ptr(), bytes.as_ptr());
    assert!(payload(vec![]).split_by_resource(KEY).expect("no block").is_empty());
}

#[test]
fn what_belongs_to_no_value_or_to_several_is_refused() {
    let (acme, globex) = (text("acme"), text("globex"));
    let error = |request: Vec<u8>| {
        payload(request)
            .split_by_resource(KEY)
            .expect_err("a refusal")
            .to_string()
    };
    let twice = [block(&[&acme], 1), block(&[&globex, &acme], 1)].concat();
    assert_eq!(
        error(twice),
        "resource_spans[1].resource: more than one value of \"tenant.id\""
    );
    let unknown = [block(&[&acme], 1), field(9, "?"), block(&[&globex], 1)].concat();
    assert_eq!(
        error(unknown),
        "field 9: unknown to this version, so it cannot be assigned to one of several tenants"
    );
    let many = |count: usize| {
        (0..count)
            .flat_map(|index| block(&[&text(&index.to_string())], 1))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        payload(many(MAX_PARTS))
            .split_by_resource(KEY)
            .expect("not too many")
            .len(),
        MAX_PARTS
    );
    let expected = "a request has at most 1024 values of the attribute that selects the tenant";
    assert_eq!(error(many(MAX_PARTS + 1)), expected);
}

#[test]
fn a_slice_has_a_buffer_of_its_own() {
    let whole = payload([block(&[], 1), block(&[], 2)].concat());
    assert_eq!(
        whole.slice(0..2).as_ptr(),
        whole.bytes().as_ptr(),
        "the whole range is the same bytes"
    );
    let first = whole.slice(0..1);
    assert_eq!(&first[..], block(&[], 1));
    assert!(!whole.bytes().as_ptr_range().contains(&first.as_ptr()));
    assert_eq!(whole.byte_size() - size_of::<Payload>(), whole.bytes().len());
    assert_eq!(
        whole.with_gzip(Bytes::from_static(b"four")).byte_size() - size_of::<Payload>(),
        2 * first.len() + 4
    );
}

#[test]
fn a_span_is_described_by_its_order_in_the_request() {
    let whole = payload([block(&[], 1), field(1, []), block(&[], 2)].concat());
    let expected = SpanSummary {
        name: "name",
        trace_id: TraceId::from_bytes([2; 16]),
        span_id: SpanId::from_bytes([1; 8]),
    };
    assert_eq!(whole.describe(1), Some(expected));
    assert_eq!(
        whole.describe(0).map(|span| span.trace_id),
        Some(TraceId::from_bytes([1; 16]))
    );
    assert_eq!(whole.describe(2), None);
}
