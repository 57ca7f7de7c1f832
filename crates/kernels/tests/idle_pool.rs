//! A pool without work uses no processor time. The only test of its file: pools of others would be counted too.

#![allow(clippy::print_stdout)]

use std::thread;
use std::time::Duration;

use docent_kernels::ThreadPool;

#[test]
fn an_idle_pool_sleeps() {
    let pool = ThreadPool::new(3);
    pool.run(10, |_, _| ());
    thread::sleep(Duration::from_millis(20));
    let before = processor_time();
    thread::sleep(Duration::from_millis(200));
    let (Some(before), Some(after)) = (before, processor_time()) else {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"skipped: this system does not tell the processor time of a thread by its name\n",
        );
        return;
    };
    assert!(after - before <= 1, "idle workers used {} clock ticks", after - before);
    drop(pool);
}

/// Clock ticks that this process's workers have used, where the system has Linux's process files.
fn processor_time() -> Option<u64> {
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc/self/task").ok()? {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        // The name is in parentheses; the 14th and 15th fields are user and system time.
        let (head, tail) = stat.rsplit_once(')')?;
        if head.contains("(docent-") {
            let fields: Vec<&str> = tail.split_whitespace().collect();
            ticks += fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        }
    }
    Some(ticks)
}
