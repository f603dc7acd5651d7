//! The testbed in a process of its own, so that nothing that its servers log is in our log.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use echkit_testbed::Testbed;

use super::Failure;

/// A testbed that ends with this value.
pub struct RunningTestbed {
    process: Child,
    pub host: String,
    pub url: String,
    pub dns: String,
    pub ca: PathBuf,
}

impl RunningTestbed {
    pub fn start() -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("testbed")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("the testbed has no output")?;
        let mut lines = BufReader::new(output).lines();
        let mut line = || {
            lines
                .next()
                .ok_or("the testbed did not start")?
                .map_err(Failure::from)
        };
        Ok(Self {
            host: line()?,
            url: line()?,
            dns: line()?,
            ca: line()?.into(),
            process,
        })
    }
}

impl Drop for RunningTestbed {
    fn drop(&mut self) {
        // The end of its input is its sign to stop.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Serves until the input ends.
pub async fn serve() -> Result<(), Failure> {
    let testbed = Testbed::builder().only(["nominal"]).start().await?;
    let case = testbed.case("nominal").ok_or("no such case")?;
    let ca = std::env::temp_dir().join(format!("outside-{}.pem", std::process::id()));
    std::fs::write(&ca, testbed.ca_pem())?;
    println!(
        "{}\n{}\n{}\n{}",
        case.host,
        case.url,
        testbed.dns_uri(),
        ca.display()
    );
    tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await??;
    std::fs::remove_file(ca)?;
    testbed.shutdown().await;
    Ok(())
}
