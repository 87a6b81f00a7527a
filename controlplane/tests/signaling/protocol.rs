//! docs/protocol.md and docs/protocol.schema.json match the code.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use spillway_controlplane::signaling;

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");
const SCHEMA: &str = include_str!("../../../docs/protocol.schema.json");

fn schema(definition: &str) -> jsonschema::Validator {
    let mut schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    schema["$ref"] = json!(format!("#/$defs/{definition}"));
    jsonschema::validator_for(&schema).unwrap()
}

/// Lines of the blocks in the document that are fenced with ```json SIDE.
fn examples(side: &str) -> Vec<Value> {
    let fence = format!("```json {side}\n");
    let blocks = DOCUMENT.split(&fence).skip(1);
    let lines = blocks.flat_map(|rest| rest.split("```").next().unwrap().lines());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn types(examples: &[Value]) -> BTreeSet<&str> {
    examples
        .iter()
        .map(|e| e["type"].as_str().unwrap())
        .collect()
}

#[test]
fn every_example_of_a_client_is_in_the_schema_and_understood() {
    let schema = schema("ClientMessage");
    let examples = examples("client");
    for example in &examples {
        schema
            .validate(example)
            .unwrap_or_else(|error| panic!("{example}: {error}"));
        let understood = signaling::decode(&example.to_string()).unwrap();
        match understood.request.into_room_request() {
            Some(request) => assert_eq!(request.name(), example["type"]),
            None => assert!(example["type"] == "join" || example["type"] == "ping"),
        }
    }
    let all =
        "answer candidate ice_servers join leave message mute offer ping subscribe unsubscribe";
    assert_eq!(types(&examples), all.split(' ').collect());
}

#[test]
fn every_example_of_the_server_is_in_the_schema() {
    let schema = schema("ServerMessage");
    let examples = examples("server");
    for example in &examples {
        schema
            .validate(example)
            .unwrap_or_else(|error| panic!("{example}: {error}"));
    }
    let all =
        "answer closing error event ice_servers joined layer media message offer ok pong speakers";
    assert_eq!(types(&examples), all.split(' ').collect());
}

#[test]
fn what_the_schema_refuses_the_code_refuses_too() {
    let schema = schema("ClientMessage");
    for example in examples("client") {
        for key in example.as_object().unwrap().keys() {
            let mut without = example.clone();
            without.as_object_mut().unwrap().remove(key);
            let mut wrong = example.clone();
            wrong[key] = json!([[]]);
            for changed in [without, wrong] {
                let decoded = signaling::decode(&changed.to_string());
                let valid = schema.is_valid(&changed);
                assert_eq!(valid, decoded.is_ok(), "{changed}: {decoded:?}");
            }
        }
        let mut more = example.clone();
        more["more"] = json!(1);
        assert!(!schema.is_valid(&more) && signaling::decode(&more.to_string()).is_err());
    }
}

#[test]
fn every_error_and_close_code_is_documented() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let codes = schema["$defs"]["server_error"]["properties"]["code"]["enum"].as_array();
    for code in codes.unwrap() {
        let code = code.as_str().unwrap();
        assert!(DOCUMENT.contains(&format!("`{code}`")), "{code}");
    }
    for close in [1000, 4400, 4401, 4408, 4409, 4413, 4429, 4503] {
        assert!(DOCUMENT.contains(&format!("| {close} |")), "{close}");
    }
}
