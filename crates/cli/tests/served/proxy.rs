//! A proxy that cuts connections in the middle of the answer to a Produce request, and notes what every Produce request carried.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::{Buf, Bytes};
use hanbeon_records::BatchRef;
use hanbeon_wire::{Advertised, ApiKey, ProduceRequest, Request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// What identifies a batch of an idempotent producer: partition, producer id, epoch, first sequence.
pub(crate) type Stamp = (i32, i64, i16, i32);

/// What went through.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Every batch that was sent, in order.
    pub(crate) sent: Vec<Stamp>,
    /// The batches whose answers were cut off.
    pub(crate) cut: Vec<Stamp>,
    answers: u32,
}

/// Forwards to the broker, and cuts every `nth` answer to a Produce request.
pub(crate) async fn forward(
    listener: TcpListener,
    broker: SocketAddr,
    nth: u32,
    traffic: Arc<Mutex<Traffic>>,
) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let broker = TcpStream::connect(broker).await.unwrap();
        let traffic = Arc::clone(&traffic);
        tokio::spawn(async move {
            let under_way = Mutex::new(BTreeMap::new());
            let (from_client, to_client) = client.into_split();
            let (from_broker, to_broker) = broker.into_split();
            // Whichever ends first takes both connections with it.
            tokio::select! {
                _ = requests(from_client, to_broker, &traffic, &under_way) => {}
                _ = answers(from_broker, to_client, nth, &traffic, &under_way) => {}
            }
        });
    }
}

type UnderWay = Mutex<BTreeMap<i32, Vec<Stamp>>>;

async fn frame(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let length = from.read_i32().await?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    traffic: &Mutex<Traffic>,
    under_way: &UnderWay,
) -> std::io::Result<()> {
    loop {
        let frame = frame(&mut from).await?;
        let length = u32::try_from(frame.len()).unwrap();
        if let Some((id, stamps)) = stamps(&frame) {
            traffic.lock().unwrap().sent.extend(&stamps);
            under_way.lock().unwrap().insert(id, stamps);
        }
        to.write_u32(length).await?;
        to.write_all(&frame).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    nth: u32,
    traffic: &Mutex<Traffic>,
    under_way: &UnderWay,
) -> std::io::Result<()> {
    loop {
        let frame = frame(&mut from).await?;
        to.write_u32(u32::try_from(frame.len()).unwrap()).await?;
        let stamps = under_way.lock().unwrap().remove(&(&frame[..]).get_i32());
        if let Some(stamps) = stamps {
            let cut = {
                let mut traffic = traffic.lock().unwrap();
                traffic.answers += 1;
                let cut = traffic.answers.is_multiple_of(nth);
                if cut {
                    traffic.cut.extend(&stamps);
                }
                cut
            };
            if cut {
                return to.write_all(&frame[..frame.len() / 2]).await;
            }
        }
        to.write_all(&frame).await?;
    }
}

/// The correlation id of a Produce request and what its batches are stamped with.
fn stamps(frame: &[u8]) -> Option<(i32, Vec<Stamp>)> {
    let frame = Bytes::copy_from_slice(frame);
    let request = Request::read(frame, &Advertised::everything_readable()).ok()?;
    if request.reply_to.api != ApiKey::Produce {
        return None;
    }
    let produce = ProduceRequest::read(&request).unwrap();
    let mut stamps = Vec::new();
    for topic in produce.topics() {
        for partition in topic.partitions() {
            let records = partition.records.unwrap();
            let (batch, _) = BatchRef::parse(&records).unwrap();
            stamps.push((
                partition.index,
                batch.producer_id().get(),
                batch.producer_epoch().get(),
                batch.base_sequence().map_or(-1, |sequence| sequence.get()),
            ));
        }
    }
    Some((request.reply_to.correlation_id, stamps))
}
