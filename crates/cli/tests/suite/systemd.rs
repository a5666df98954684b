//! `serve` as a service of systemd.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Output};

use tempfile::TempDir;
use tracer_registry_collector::LocalCollector;

use crate::serve::{Served, configuration};
use crate::support::LONG;
use crate::{binary, signal, text};

const UNIT: &str = include_str!("../../../../docs/deploy/tracer-registry.service");
const STEPS: &str = include_str!("../../../../docs/deploy/README.md");

/// A gateway, and the socket that it reports its state to.
struct Service {
    served: Served,
    manager: UnixDatagram,
    folder: TempDir,
    _collector: LocalCollector,
}

impl Service {
    fn start(manager: UnixDatagram, address: &str) -> Self {
        manager.set_read_timeout(Some(LONG)).expect("a timeout");
        let collector = LocalCollector::start().expect("started");
        let folder = tempfile::tempdir().expect("a folder");
        configuration(folder.path(), &collector, "acme");
        fs::write(folder.path().join("token"), "a-token-of-a-caller").expect("written");
        let mut command = binary();
        command
            .args(["serve", "--until-end-of-input", "--config"])
            .arg(folder.path().join("gateway.toml"))
            .env("NOTIFY_SOCKET", address);
        Self {
            served: Served::spawn(&mut command),
            manager,
            folder,
            _collector: collector,
        }
    }

    fn state(&self) -> String {
        let mut state = [0; 1024];
        let len = self.manager.recv(&mut state).expect("a state");
        text(&state[..len])
    }
}

#[test]
fn the_manager_gets_each_state_with_what_is_configured() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("bound");
    let service = Service::start(manager, path.to_str().expect("UTF-8"));
    assert_eq!(service.state(), "READY=1\nSTATUS=configured tenants: 1");
    let file = service.folder.path().join("gateway.toml");
    let config = fs::read_to_string(&file).expect("written before");

    fs::write(&file, format!("{config}[tenants.globex]\n")).expect("written");
    signal(&service.served.process, "HUP");
    assert_eq!(service.state(), "RELOADING=1");
    assert_eq!(service.state(), "READY=1\nSTATUS=configured tenants: 2");

    fs::write(&file, format!("{config}[export]\nno_setting = 1\n")).expect("written");
    signal(&service.served.process, "HUP");
    assert_eq!(service.state(), "RELOADING=1");
    assert_eq!(
        service.state(),
        "READY=1\nSTATUS=configured tenants: 2; the changed configuration was not applied, problems: 1"
    );
    service.served.wait_for_log("no_setting");

    signal(&service.served.process, "TERM");
    assert_eq!(service.state(), "STOPPING=1\nSTATUS=delivering what is queued");
    let (code, output, log) = service.served.stop();
    assert_eq!(code, Some(0), "{output}{log}");
}

#[test]
fn the_address_of_the_manager_may_be_abstract_and_need_not_exist() {
    let name = format!("tracer-registry-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = UnixDatagram::bind_addr(&address).expect("bound");
    let service = Service::start(manager, &format!("@{name}"));
    assert!(service.state().starts_with("READY=1\n"));
    service.served.stop();

    let unused = UnixDatagram::unbound().expect("a socket");
    let service = Service::start(unused, "/no/such/socket");
    assert_eq!(service.served.stop().0, Some(0));
}

/// Runs `systemd-analyze` on a copy of the unit that runs the built binary. `None` if it is not
/// installed.
fn analyze(arguments: &[&str]) -> Option<Output> {
    let folder = tempfile::tempdir().expect("a folder");
    let installed = "/usr/local/bin/tracer-registry";
    assert!(UNIT.contains(installed));
    let unit = folder.path().join("tracer-registry.service");
    let text = UNIT.replace(installed, env!("CARGO_BIN_EXE_tracer-registry"));
    fs::write(&unit, text).expect("written");
    match Command::new("systemd-analyze").args(arguments).arg(&unit).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("systemd-analyze: {error}"),
    }
}

#[test]
fn the_unit_is_valid_and_exposes_little() {
    let Some(verified) = analyze(&["verify", "--man=no"]) else {
        return;
    };
    let said = text(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
    // Tenths: at most 2.0 of 10.
    let checked = analyze(&["security", "--offline=true", "--threshold=20", "--no-pager"]).expect("as before");
    assert!(
        checked.status.success(),
        "{}{}",
        text(&checked.stdout),
        text(&checked.stderr)
    );
}

/// Returns the file that the steps name in the first line of its block.
fn configured(file: &str) -> &'static str {
    let head = format!("```toml\n# /etc/tracer-registry/{file}\n");
    let (_, block) = STEPS.split_once(&head).expect("the file");
    block.split_once("```").expect("its end").0
}

#[test]
fn the_configuration_of_the_steps_takes_its_secrets_from_the_credentials_of_the_unit() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["default.toml", "gateway.toml"] {
        fs::write(folder.path().join(file), configured(file)).expect("written");
    }
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).expect("made");
    // systemd names the files of a folder after it.
    let files = [
        ("keys", "keys_acme"),
        ("callers", "callers_acme-backend"),
        ("admin_token", "admin_token"),
    ];
    for (secret, file) in files {
        let loaded = format!("LoadCredential={secret}:/etc/tracer-registry/secrets/{secret}\n");
        assert!(UNIT.contains(&loaded), "{secret}");
        fs::write(credentials.join(file), format!("secret-of-{file}\n")).expect("written");
    }
    assert_eq!(UNIT.matches("\nLoadCredential=").count(), files.len());
    let check = || {
        let mut command = binary();
        command.args(["check", "--config"]).arg(folder.path());
        command
            .env("CREDENTIALS_DIRECTORY", &credentials)
            .output()
            .expect("it runs")
    };
    let output = check();
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    assert!(stdout.contains("1 caller of the gateway, 0 failed"), "{stdout}");
    fs::remove_file(credentials.join("callers_acme-backend")).expect("removed");
    assert_eq!(check().status.code(), Some(1));
}
