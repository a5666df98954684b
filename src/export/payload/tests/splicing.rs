//! Attributes of the binding.

use opentelemetry::KeyValue;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::generated::{KEYS, request};
use super::*;
use crate::backend::AttributeNames;

/// Values of edits, which no client sends.
fn own(key: &'static str) -> KeyValue {
    KeyValue::new(key, format!("own {key}"))
}

fn edits() -> impl Strategy<Value = Edits> {
    let keys = || subsequence([&KEYS[1..], &["wandb.entity", "last.key"]].concat(), 0..=5);
    let forced_keys = subsequence([&KEYS[1..4], &["wandb.entity"]].concat(), 0..=3);
    let forced_on_resource = subsequence(&KEYS[1..4], 0..=2);
    let forced = (forced_keys, forced_on_resource);
    (keys(), keys(), forced, any::<bool>(), any::<bool>()).prop_map(
        |(resource, span, (forced_keys, forced_on_resource), typed, session)| Edits {
            resource: resource.into_iter().map(own).collect(),
            span_attributes: span.into_iter().map(own).collect(),
            forced_keys,
            forced_on_resource,
            event_type: typed.then_some(&AttributeNames::HONEYHIVE),
            session_id: session.then_some("session"),
        },
    )
}

proptest! {
    #[test]
    fn a_spliced_request_decodes_to_the_edited_one(request in request(), edits in edits()) {
        let mut expected = decoded(&request);
        edit(&mut expected, &edits);
        let mut spliced = payload(request.clone()).with_gzip(Bytes::from_static(b"gzip"));
        spliced.splice(&edits);
        let found = decoded(spliced.bytes());
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(payload(spliced.bytes().clone()).spans(), spliced.spans());
        prop_assert_eq!(spliced.gzip().is_some(), found == decoded(&request));
        prop_assert_eq!(spliced.bytes() == &request, found == decoded(&request));

    }

    #[test]
    fn a_splice_without_forced_keys_changes_nothing_again(request in request(), edits in edits()) {
        let edits = Edits { forced_keys: Vec::new(), forced_on_resource: Vec::new(), ..edits };
        let mut spliced = payload(request);
        spliced.splice(&edits);
        let once = spliced.bytes().clone();
        spliced.splice(&edits);
        prop_assert_eq!(spliced.bytes().as_ptr(), once.as_ptr());
    }

    #[cfg(feature = "spool")]
    #[test]
    fn forced_edits_replace_forced_keys_alone_and_change_no_byte_again(request in request(), edits in edits()) {
        let forced = edits.forced();
        let mut expected = decoded(&request);
        edit(&mut expected, &Edits {
            resource: forced.resource.clone(),
            span_attributes: forced.span_attributes.clone(),
            forced_keys: edits.forced_keys.clone(),
            forced_on_resource: edits.forced_on_resource.clone(),
            ..Edits::default()
        });
        let keys = [edits.forced_keys.as_slice(), edits.forced_on_resource.as_slice()].concat();
        prop_assert!(forced.resource.iter().all(|attribute| keys.contains(&attribute.key.as_str())));
        prop_assert!(forced.span_attributes.iter().all(|attribute| edits.forced_keys.contains(&attribute.key.as_str())));
        let mut spliced = payload(request);
        spliced.splice(&forced);
        prop_assert_eq!(&decoded(spliced.bytes()), &expected);
        let once = spliced.bytes().clone();
        spliced.splice(&forced);
        prop_assert_eq!(spliced.bytes(), &once);
    }

    #[cfg(feature = "spool")]
    #[test]
    fn without_forced_keys_spans_of_the_program_are_sent_as_they_were_saved(request in request(), edits in edits()) {
        let edits = Edits { forced_keys: Vec::new(), forced_on_resource: Vec::new(), ..edits };
        let mut saved = payload(request);
        let before = saved.bytes().clone();
        saved.splice(&edits.forced());
        prop_assert_eq!(saved.bytes().as_ptr(), before.as_ptr());
    }

    #[test]
    fn no_edits_change_nothing(request in request()) {
        let bytes = Bytes::from(request);
        let mut spliced = payload(bytes.clone()).with_gzip(Bytes::from_static(b"gzip"));
        spliced.splice(&Edits::default());
        prop_assert_eq!(spliced.bytes().as_ptr(), bytes.as_ptr());
        prop_assert!(spliced.gzip().is_some());
    }

    #[test]
    fn unknown_fields_survive_a_splice(request in request(), edits in edits()) {
        let mut spliced = payload(request.clone());
        spliced.splice(&edits);
        prop_assert_eq!(unknown_fields(spliced.bytes()), unknown_fields(&request));
    }
}
