//! A network that is lost without a word, and an API server that knows the older protocol only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use consistent_backup::cluster::client::{Around, Cluster, Connection, Wire};
use consistent_backup::exec::{Session, run};
use consistent_backup::quiescer::{Channel, End};
use http::Request;
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use kube::client::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

use super::{Ground, argv, cluster_through, never_succeeded, sh};

const SOON: Duration = Duration::from_secs(10);

/// Passes bytes on until it is cut, and then neither passes nor closes anything.
async fn relay(server: &str) -> (u16, Arc<AtomicBool>) {
    let server = server.trim_start_matches("https://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cut = Arc::new(AtomicBool::new(false));
    let cutting = cut.clone();
    tokio::spawn(async move {
        while let Ok((ours, _)) = listener.accept().await {
            let Ok(theirs) = TcpStream::connect(&server).await else { continue };
            let (from_us, to_us) = ours.into_split();
            let (from_them, to_them) = theirs.into_split();
            tokio::spawn(pass(from_us, to_them, cutting.clone()));
            tokio::spawn(pass(from_them, to_us, cutting.clone()));
        }
    });
    (port, cut)
}

async fn pass(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, cut: Arc<AtomicBool>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_lost_network_is_noticed() {
    let ground = Ground::new("network").await;
    let at = ground.pod("a").await;
    let (port, cut) = relay(&ground.cluster.server).await;
    let through = Connection {
        server: Some(format!("https://127.0.0.1:{port}")),
        tls_server_name: Some("localhost".into()),
        request_timeout: Some(Duration::from_secs(5)),
        ..Connection::default()
    };
    let cluster = Cluster::connect(&through).await.unwrap();
    let channel = Channel { id: 1, argv: argv(&["sh"]), end: "exit" };
    let mut session = Session::open(&cluster, &at, &channel, SOON).await.unwrap_or_else(|a| panic!("{a:?}"));
    assert_eq!(session.ask("echo x; echo A\n", "A", SOON).await.out, "x\n");
    cluster.api.apiserver_version().await.unwrap();

    cut.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    let answer = session.ask("echo x; echo B\n", "B", Duration::from_secs(2)).await;
    assert_eq!(answer.end, End::Unknown("no answer in 2s".into()));
    while session.ended().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(40));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("noticed after {:?}: {:?}", begin.elapsed(), session.ended());
    let begin = Instant::now();
    assert!(cluster.once.apiserver_version().await.is_err());
    assert!(begin.elapsed() < Duration::from_secs(15));
    let answer = run(&cluster, &at, &argv(&["true"]), Duration::from_secs(3)).await;
    assert!(matches!(answer.end, End::Unknown(_)), "{answer:?}");
    ground.end().await;
}

#[tokio::test]
async fn the_older_protocol_will_do() {
    let ground = Ground::new("v4").await;
    let at = ground.pod("a").await;
    let older: Around = Arc::new(|wire: Wire| {
        BoxCloneSyncService::new(service_fn(move |mut request: Request<Body>| {
            let mut wire = wire.clone();
            if let Some(protocols) = request.headers_mut().get_mut(SEC_WEBSOCKET_PROTOCOL) {
                *protocols = HeaderValue::from_static("v4.channel.k8s.io");
            }
            async move { wire.ready().await?.call(request).await }
        }))
    });
    let cluster = cluster_through(Some(older)).await;
    for code in [0, 3, 137] {
        let answer = run(&cluster, &at, &sh(&format!("echo out; echo err >&2; exit {code}")), SOON).await;
        assert_eq!((answer.out.as_str(), answer.err.as_str(), answer.end), ("out\n", "err\n", End::Exited(code)));
    }
    let channel = Channel { id: 1, argv: argv(&["sh"]), end: "exit" };
    let mut session = Session::open(&cluster, &at, &channel, SOON).await.unwrap_or_else(|a| panic!("{a:?}"));
    assert_eq!(session.ask("echo x; echo A\n", "A", SOON).await.out, "x\n");
    tokio::time::sleep(Duration::from_secs(22)).await;
    assert_eq!(session.ask("echo y; echo B\n", "B", SOON).await.out, "y\n");
    assert_eq!(session.close().await, End::Exited(0));
    let absent = run(&cluster, &at, &argv(&["/no/such/command"]), SOON).await;
    eprintln!("v4, no command: {:?}", absent.end);
    assert!(never_succeeded(&absent), "{absent:?}");
    ground.end().await;
}
