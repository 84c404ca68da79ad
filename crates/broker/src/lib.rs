//! A Kafka broker on the embedded engine: sockets, the protocol's manners, and nothing that the engine should decide.
//!
//! ```text
//! Server --- Connection --- dispatch --- produce, fetch, admin --- hanbeon::Engine
//!   seats     frames in       by API       codes and answers
//!             answers out, in order
//! ```
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use hanbeon::{Engine, Options};
//! use hanbeon_broker::{Broker, BrokerOptions};
//!
//! let engine = Engine::open_with("data", Options::broker().helpers(1))?;
//! let broker = Broker::bind(engine, BrokerOptions::new("127.0.0.1:9092".parse()?)).await?;
//! println!("listening on {}", broker.local_address());
//! broker.serve_until(async { drop(tokio::signal::ctrl_c().await) }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It holds no state of its own beyond connections and their fetch sessions.
#![forbid(unsafe_code)]

mod admin;
mod answer_size;
mod blocking;
mod broker;
mod connection;
mod dispatch;
mod fetch;
mod groups;
mod intake;
mod limits;
mod metrics;
mod named;
mod page;
mod patience;
mod produce;
mod server;
mod sessions;
mod transactions;

pub use broker::{Broker, BrokerError, BrokerOptions};
pub use dispatch::Endpoint;
pub use limits::Limits;
