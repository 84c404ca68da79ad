//! Where clients are told to connect.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use bytes::{Buf, BufMut, Bytes};
use hanbeon::{Engine, Options};
use hanbeon_broker::{Broker, BrokerError, BrokerOptions, Endpoint};
use support::*;

const DESCRIBE_CONFIGS: i16 = 32;

#[tokio::test]
async fn clients_are_told_no_address_that_stands_for_all() {
    let endpoint = |host: &str| Endpoint { host: host.to_owned(), port: 9092 };
    let on = |address: &str| BrokerOptions::new(address.parse().unwrap());
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    for options in [
        on("0.0.0.0:0"),
        on("[::]:0"),
        on("[::ffff:0.0.0.0]:0"),
        on("127.0.0.1:0").advertised(endpoint("0.0.0.0")),
        on("127.0.0.1:0").advertised(endpoint("::")),
    ] {
        let refused = Broker::bind(engine.clone(), options).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, BrokerError::Nowhere { .. }), "{refused}");
    }
    for options in [
        on("127.0.0.1:0"),
        on("0.0.0.0:0").advertised(endpoint("127.0.0.1")),
        on("0.0.0.0:0").advertised(endpoint("broker.example")),
    ] {
        Broker::bind(engine.clone(), options).await.unwrap();
    }
}

/// A setting as `DescribeConfigs` 3 shows it.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    name: String,
    value: Option<String>,
    read_only: u8,
    source: i8,
    sensitive: u8,
    synonyms: Vec<(String, Option<String>, i8)>,
    kind: i8,
}

fn cut_text(answer: &mut Bytes) -> Option<String> {
    let length = usize::try_from(answer.get_i16()).ok()?;
    Some(String::from_utf8(answer.split_to(length).to_vec()).unwrap())
}

#[tokio::test]
async fn the_settings_say_where_a_broker_is() {
    const BROKER: i8 = 4;
    const LIST: i8 = 7;
    const STATIC: i8 = 4;
    const DEFAULT: i8 = 5;
    let elsewhere = Endpoint { host: "::1".to_owned(), port: 9 };
    let broker = Running::with(|options| options.advertised(elsewhere)).await;
    let mut body = Vec::new();
    body.put_i32(1);
    body.put_i8(BROKER);
    text(&mut body, &broker.engine.node_id().get().to_string());
    body.put_i32(2);
    for key in ["listeners", "advertised.listeners"] {
        text(&mut body, key);
    }
    // Synonyms, no documentation.
    body.put_slice(&[1, 0]);
    let mut client = broker.client().await;
    client.send(DESCRIBE_CONFIGS, 3, 1, &body).await;
    let mut answer = client.answer(1).await;
    assert_eq!((answer.get_i32(), answer.get_i32(), answer.get_i16()), (0, 1, 0));
    assert_eq!((cut_text(&mut answer), answer.get_i8()), (None, BROKER));
    cut_text(&mut answer);
    let mut shown = Vec::new();
    for _ in 0..answer.get_i32() {
        let name = cut_text(&mut answer).unwrap();
        let value = cut_text(&mut answer);
        let (read_only, source, sensitive) = (answer.get_u8(), answer.get_i8(), answer.get_u8());
        let mut synonyms = Vec::new();
        for _ in 0..answer.get_i32() {
            let name = cut_text(&mut answer).unwrap();
            synonyms.push((name, cut_text(&mut answer), answer.get_i8()));
        }
        let kind = answer.get_i8();
        cut_text(&mut answer);
        shown.push(Shown { name, value, read_only, source, sensitive, synonyms, kind });
    }
    let told = |name: &str, value: &str, default: Option<&str>| {
        let synonym = |value: &str, source| (name.to_owned(), Some(value.to_owned()), source);
        let mut synonyms = vec![synonym(value, STATIC)];
        synonyms.extend(default.map(|default| synonym(default, DEFAULT)));
        Shown {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            read_only: 1,
            source: STATIC,
            sensitive: 0,
            synonyms,
            kind: LIST,
        }
    };
    let bound = format!("PLAINTEXT://{}", broker.address);
    let expected = [
        told("advertised.listeners", "PLAINTEXT://[::1]:9", None),
        told("listeners", &bound, Some("PLAINTEXT://:9092")),
    ];
    assert_eq!(shown, expected);
    broker.stop().await;
}
