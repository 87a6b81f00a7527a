//! SIGHUP has no effect on a data plane without a certificate. It requests a reload of certificates, and an operator
//! who sends it to all services of a host must not end calls.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A child process that is killed at the end of the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended already
        let _ = self.0.wait();
    }
}

#[test]
fn a_hangup_ends_no_data_plane_that_has_no_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let control = format!("unix:{}", dir.path().join("control.sock").display());
    let child = Command::new(env!("CARGO_BIN_EXE_spillway-dataplane"))
        .args(["--control", &control, "--metrics", "", "--udp-port", "0"])
        .args(["--shards", "1", "--advertise", "127.0.0.1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let mut said = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it did not start");
    }
    kill_process(Pid::from_child(&child.0), Signal::HUP).unwrap();
    // A process that the first signal has ended cannot be ended by SIGKILL, so the exit status names the signal.
    child.0.kill().unwrap();
    let status = child.0.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
}
