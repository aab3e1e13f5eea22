//! perf, watching a process from time to time (Linux).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::clock::own_cpu;
use crate::peer::skipped;

/// Samples per second of CPU.
const FREQUENCY: &str = "10000";

/// So much of a copied stack is enough: what is looked for is at its end.
const COPIED: &str = "dwarf,16384";

/// Samples of both sides: of the user's code and of the kernel's.
const EVENT: &str = "cpu-clock:uk";

/// The same with the eight innermost functions, as far as frame pointers lead to them: in the kernel
/// and in Go to all of them.
const EVENT_WITH_CALLERS: &str = "cpu-clock/call-graph=fp,max-stack=8/uk";

/// Where the kernel's addresses begin.
pub const KERNEL_ADDRESS: &str = "ffff";

/// How long the trial is at work.
const TRIAL: Duration = Duration::from_millis(20);

/// Between two looks whether perf still runs.
const LOOK_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Where the kernel's tracepoints are.
const TRACING: &str = "/sys/kernel/tracing";

/// System calls, as the kernel counts them where they begin.
const SYSTEM_CALLS: &str = "raw_syscalls:sys_enter";

/// Where perf says what is wrong, and when it was told something.
const ERRORS: &str = "err";

/// Keeps the folders of a process apart.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What perf keeps of each sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stacks {
    /// The innermost functions, which costs next to nothing.
    Callers,
    /// Whole stacks, which cost the threads that are watched some time.
    Copied,
}

/// Whether perf takes samples here, of the kernel too, and names its functions.
///
/// # Panics
///
/// As [`skipped`].
#[must_use]
pub fn is_possible() -> bool {
    match trial() {
        Ok(()) => true,
        Err(why) => {
            eprintln!("{why}");
            let what = "perf does not take samples of the kernel by name";
            skipped::<()>(what, "install linux-perf, and run it as root").is_some()
        }
    }
}

/// Takes samples of this process, while it is busy with system calls.
fn trial() -> Result<(), String> {
    let version = Command::new("perf").arg("--version").output();
    version.map_err(|error| format!("perf: {error}"))?;
    let mut profile = Profile::new(std::process::id(), Stacks::Callers);
    profile.perf.try_tell("enable")?;
    let before = own_cpu();
    while own_cpu() - before < TRIAL {
        fs::read("/proc/self/stat").map_err(|error| error.to_string())?;
    }
    profile.perf.try_tell("disable")?;
    let (mut all, mut named) = (0, 0);
    profile.finish(|stack| {
        all += 1;
        let innermost = stack.lines().next().and_then(|line| line.split_once(' '));
        let is_named = innermost.is_some_and(|(address, function)| {
            address.starts_with(KERNEL_ADDRESS) && function != "[unknown]"
        });
        named += u32::from(is_named);
    });
    match named {
        0 => Err(format!(
            "no function of the kernel is named in {all} samples"
        )),
        _ => Ok(()),
    }
}

/// perf, taking samples of a process while it is told to.
#[derive(Debug)]
pub struct Profile {
    perf: Perf,
}

impl Profile {
    /// Watches a process from the next [`start`](Self::start) on.
    ///
    /// # Panics
    ///
    /// If perf cannot be run.
    #[must_use]
    pub fn new(pid: u32, stacks: Stacks) -> Self {
        let event: &[&str] = match stacks {
            Stacks::Callers => &["-e", EVENT_WITH_CALLERS],
            Stacks::Copied => &["-e", EVENT, "--call-graph", COPIED],
        };
        let options = [&["record", "-q"], event, &["-F", FREQUENCY, "-m", "2048"]].concat();
        Self {
            perf: Perf::new(Command::new("perf"), &options, pid),
        }
    }

    /// Begins watching.
    ///
    /// # Panics
    ///
    /// If perf has ended.
    pub fn start(&mut self) {
        self.perf.tell("enable");
    }

    /// Ends watching.
    ///
    /// # Panics
    ///
    /// If perf has ended.
    pub fn stop(&mut self) {
        self.perf.tell("disable");
    }

    /// Passes every sample on: the functions of its stack as lines of text, each an address and a name,
    /// the innermost first.
    ///
    /// # Panics
    ///
    /// If perf has ended before.
    pub fn finish(mut self, mut each: impl FnMut(&str)) {
        self.perf.end();
        let mut script = Command::new("perf");
        script
            .args(["script", "--no-inline", "-F", "ip,sym", "-i"])
            .arg(self.perf.folder.join("out"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut script = script.spawn().expect("perf, which was there");
        let lines = BufReader::new(script.stdout.take().expect("stdout is piped"));
        // Stacks have an indented line for each function and an empty one at their end; a sample
        // without a stack is one line.
        let mut stack = String::new();
        for line in lines.lines().map(|line| line.expect("text")) {
            stack += line.trim();
            if line.starts_with('\t') {
                stack.push('\n');
                continue;
            }
            if !stack.is_empty() {
                each(&stack);
            }
            stack.clear();
        }
        if !stack.is_empty() {
            each(&stack);
        }
        script.wait().expect("a child can be waited for");
    }
}

/// perf, counting the system calls of a process while it is told to.
#[derive(Debug)]
pub struct SystemCalls {
    perf: Perf,
}

impl SystemCalls {
    /// Counts from the next [`start`](Self::start) on. `None` where the kernel does not tell.
    ///
    /// # Panics
    ///
    /// As [`skipped`].
    #[must_use]
    pub fn new(pid: u32) -> Option<Self> {
        let mut trial = tracing_perf();
        trial.args(["stat", "-e", SYSTEM_CALLS, "true"]);
        if !trial.output().is_ok_and(|output| output.status.success()) {
            return skipped("the kernel does not count system calls", "run it as root");
        }
        let perf = Perf::new(tracing_perf(), &["stat", "-x,", "-e", SYSTEM_CALLS], pid);
        Some(Self { perf })
    }

    /// Begins counting.
    ///
    /// # Panics
    ///
    /// If perf has ended.
    pub fn start(&mut self) {
        self.perf.tell("enable");
    }

    /// Ends counting.
    ///
    /// # Panics
    ///
    /// If perf has ended.
    pub fn stop(&mut self) {
        self.perf.tell("disable");
    }

    /// How many there were.
    ///
    /// # Panics
    ///
    /// If perf has ended before.
    #[must_use]
    pub fn finish(mut self) -> u64 {
        self.perf.end();
        let told = fs::read_to_string(self.perf.folder.join("out")).expect("what perf counted");
        let mut lines = told.lines().filter(|line| line.contains(SYSTEM_CALLS));
        let count = lines.next().and_then(|line| line.split(',').next());
        let count = count.and_then(|count| count.parse().ok());
        count.unwrap_or_else(|| panic!("no count in {told}"))
    }
}

/// perf that finds the kernel's tracepoints. Where they are not mounted they are in a namespace of its
/// own, as far as its user may do that.
fn tracing_perf() -> Command {
    if Path::new(TRACING).join("events").is_dir() {
        return Command::new("perf");
    }
    let mut command = Command::new("unshare");
    let mount = format!("mount -t tracefs none {TRACING}; exec perf \"$@\"");
    command.args(["--mount", "sh", "-c", &mount, "perf"]);
    command
}

/// A perf that waits for orders, and its folder for temporary files.
#[derive(Debug)]
struct Perf {
    child: Child,
    control: File,
    acknowledgements: File,
    folder: PathBuf,
}

impl Perf {
    fn new(mut perf: Command, options: &[&str], pid: u32) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("kvill-perf-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir(&folder).expect("a folder for temporary files");
        let [control, acknowledgements] = ["control", "ack"].map(|name| folder.join(name));
        let mut pipes = Command::new("mkfifo");
        pipes.args([&control, &acknowledgements]);
        assert!(pipes.status().is_ok_and(|status| status.success()));
        let mut orders = OsString::from("--control=fifo:");
        orders.push(&control);
        orders.push(",");
        orders.push(&acknowledgements);
        perf.args(options)
            .args(["-D", "-1", "-o"])
            .arg(folder.join("out"))
            .arg(orders)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stderr(File::create(folder.join(ERRORS)).expect("a file that is new"));
        let child = perf.spawn().expect("perf, which was there");
        // For both ways, so neither waits for perf to open the other end.
        let open = |path| File::options().read(true).write(true).open(path);
        Self {
            child,
            control: open(control).expect("a pipe"),
            acknowledgements: open(acknowledgements).expect("a pipe"),
            folder,
        }
    }

    /// Gives an order, and waits until that is done.
    fn tell(&mut self, command: &str) {
        let told = self.try_tell(command);
        told.unwrap_or_else(|why| panic!("{why}"));
    }

    /// As [`tell`](Self::tell). An error is what perf said before it ended.
    fn try_tell(&mut self, command: &str) -> Result<(), String> {
        writeln!(self.control, "{command}").expect("a pipe that has room");
        let (mut told, mut buffer) = (String::new(), [0; 64]);
        while !told.contains('\n') {
            let mut pipe = [PollFd::new(&self.acknowledgements, PollFlags::IN)];
            if poll(&mut pipe, Some(&LOOK_INTERVAL)).is_ok_and(|ready| ready > 0) {
                let len = self.acknowledgements.read(&mut buffer).expect("a pipe");
                told += &String::from_utf8_lossy(&buffer[..len]);
            } else if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                let said = fs::read_to_string(self.folder.join(ERRORS)).unwrap_or_default();
                return Err(format!("perf ended with {status}: {said}"));
            }
        }
        match told.contains("ack") {
            true => Ok(()),
            false => Err(format!("perf: {told}")),
        }
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a pid"), Signal::INT).expect("perf runs");
        self.child.wait().expect("a child can be waited for");
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        // Both fail only for one that was told to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What is left in a folder for temporary files harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
