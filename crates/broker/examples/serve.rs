//! A broker inside the test of a Kafka client: a port that was free, a directory that goes with it, and no process to look after.
use std::{error::Error, io::Write as _, net::Ipv4Addr};

use hanbeon::{Engine, Options};
use hanbeon_broker::{Broker, BrokerOptions};
use tokio::{net::TcpStream, sync::oneshot};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open_with(dir.path(), Options::broker().helpers(1))?;
    engine.ensure_topic("orders", 3)?;
    let options = BrokerOptions::new((Ipv4Addr::LOCALHOST, 0).into());
    let broker = Broker::bind(engine.clone(), options).await?;
    let address = broker.local_address();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(broker.serve_until(async { drop(stopped.await) }));

    // Here the client under test works with `address`, and what it wrote is looked at in the engine.
    drop(TcpStream::connect(address).await?);
    writeln!(std::io::stdout(), "clients can connect to {address}")?;

    drop(stop);
    Ok(serving.await??)
}
