//! TLS to model providers and to PostgreSQL, as the process speaks it.

use std::{io, path::PathBuf, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::support::server::command;

/// What PostgreSQL says to a stranger.
const REFUSAL: &[u8] = b"SFATAL\0VFATAL\0C28000\0Mnobody of that name\0\0";

#[tokio::test]
async fn an_https_server_is_believed_if_its_root_is_trusted() {
    let port = listen(async |stream, tls| {
        let mut stream = tls.accept(stream).await?;
        let _request = stream.read(&mut [0; 1024]).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?;
        stream.shutdown().await
    })
    .await;
    let root = fixture("root.pem").display().to_string();
    let health = async |host: &str, environment: Vec<(&'static str, String)>| {
        run(vec!["health".to_owned(), "--url".to_owned(), format!("https://{host}:{port}")], environment).await
    };
    let trusting = vec![("SSL_CERT_FILE", root)];
    assert_eq!(health("localhost", trusting.clone()).await, Ok(()));
    for (host, environment) in [("127.0.0.1", trusting), ("localhost", Vec::new())] {
        let refusal = health(host, environment).await.unwrap_err();
        assert!(refusal.contains("certificate"), "{host}: {refusal}");
    }
}

#[tokio::test]
async fn postgresql_is_asked_over_tls_as_sslmode_says() {
    let port = listen(async |mut stream, tls| {
        let mut request = [0; 8];
        stream.read_exact(&mut request).await?;
        assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47], "an SSLRequest");
        stream.write_all(b"S").await?;
        let mut stream = tls.accept(stream).await?;
        let _request = stream.read(&mut [0; 1024]).await?;
        let length = u32::try_from(REFUSAL.len() + 4).expect("short").to_be_bytes();
        stream.write_all(&[b"E", &length[..], REFUSAL].concat()).await?;
        stream.shutdown().await
    })
    .await;
    let with_root = format!("&sslrootcert={}", fixture("root.pem").display());
    let connects = [
        ("localhost", "prefer", ""),
        ("localhost", "require", ""),
        ("localhost", "verify-ca", with_root.as_str()),
        ("127.0.0.1", "verify-ca", &with_root),
        ("localhost", "verify-full", &with_root),
    ];
    let refuses = [
        ("localhost", "verify-ca", ""),
        ("localhost", "verify-full", ""),
        ("127.0.0.1", "verify-full", with_root.as_str()),
    ];
    let reason = async |(host, mode, root): (&str, &str, &str)| {
        let url = format!("postgres://me@{host}:{port}/db?sslmode={mode}{root}");
        run(vec!["migrate".to_owned()], vec![("DATABASE_URL", url)]).await.unwrap_err()
    };
    for case in connects {
        let reason = reason(case).await;
        assert!(reason.contains("nobody of that name"), "{case:?}: {reason}");
    }
    for case in refuses {
        let reason = reason(case).await;
        assert!(reason.contains("certificate") && reason.contains("sslrootcert"), "{case:?}: {reason}");
    }
}

/// What a command says if it fails.
async fn run(arguments: Vec<String>, environment: Vec<(&'static str, String)>) -> Result<(), String> {
    let output = tokio::task::spawn_blocking(move || {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        command(&arguments).envs(environment).output().expect("the binary starts")
    });
    let output = output.await.expect("it ends");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).expect("UTF-8")) }
}

/// Answers every connection to `localhost` and this port.
async fn listen<A>(answer: impl Fn(TcpStream, TlsAcceptor) -> A + Send + 'static) -> u16
where
    A: Future<Output = io::Result<()>> + Send + 'static,
{
    let certificates = vec![CertificateDer::from_pem_file(fixture("localhost.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture("localhost.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not believe the certificate hangs up.
            let _ = answer(stream, tls.clone()).await;
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
    tokio::spawn(serving);
    port
}

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/tls", name].iter().collect()
}
