//! L11: an allow-list of system calls, last of the layers.
//!
//! A list of what is denied forgets something with every kernel; what is not named here answers
//! `EPERM`. A call of another architecture ends the process, and calls of the x32 convention are
//! numbers that are not on the list. `clone3` hides its flags behind a pointer that no filter can
//! read, so a second filter answers `ENOSYS` and C libraries fall back to `clone`.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use super::LayerError;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A child of ours that computes: it reads and writes what is open and asks for memory.
    Compute,
    /// A program of a stranger: files, processes, threads and pipes besides.
    Program,
}

/// Installs the list of a caller. Sets `no_new_privs` first.
///
/// # Errors
/// The kernel has no filters, or this processor is not known to the list.
pub fn restrict(caller: Caller) -> Result<(), LayerError> {
    let failed = |error: seccompiler::Error| LayerError::new("seccomp", error);
    let (denied, list) = programs(caller)?;
    apply_filter(&denied).map_err(failed)?;
    apply_filter(&list).map_err(failed)
}

/// The two filters of a caller, stacked: the kernel takes the stricter answer.
fn programs(caller: Caller) -> Result<(BpfProgram, BpfProgram), LayerError> {
    let arch: TargetArch = std::env::consts::ARCH
        .try_into()
        .map_err(|error| LayerError::new("seccomp", format!("{error:?}")))?;
    let compiled = |calls: BTreeMap<i64, Vec<SeccompRule>>, other, these| {
        SeccompFilter::new(calls, other, these, arch)
            .and_then(BpfProgram::try_from)
            .map_err(|error| LayerError::new("seccomp", error))
    };
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let hidden = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let denied = compiled(hidden, SeccompAction::Allow, absent)?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> =
        COMPUTE.iter().map(|call| (*call, Vec::new())).collect();
    if caller == Caller::Program {
        calls.extend(PROGRAM.iter().map(|call| (*call, Vec::new())));
        calls.extend(conditional()?);
    }
    calls.insert(libc::SYS_clone3, Vec::new());
    Ok((denied, compiled(calls, refused, SeccompAction::Allow)?))
}

/// Calls that are allowed for some arguments.
fn conditional() -> Result<Vec<(i64, Vec<SeccompRule>)>, LayerError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let only = |argument, op, value| one(vec![condition(argument, op, value)?]);
    let terminal = one(vec![
        condition(1, Ne, libc::TIOCSTI)?,
        condition(1, Ne, libc::TIOCLINUX)?,
        condition(1, Ne, libc::TIOCSCTTY)?,
        condition(1, Ne, libc::TIOCCONS)?,
    ])?;
    let names: Result<Vec<SeccompRule>, LayerError> =
        PRCTL.iter().map(|option| only(0, Eq, *option as u64)).collect();
    let pairs = vec![only(0, Eq, libc::AF_UNIX as u64)?];
    Ok(vec![
        (libc::SYS_clone, vec![only(0, MaskedEq(NAMESPACES), 0)?]),
        (libc::SYS_socket, pairs.clone()),
        (libc::SYS_socketpair, pairs),
        (libc::SYS_ioctl, vec![terminal]),
        (libc::SYS_prctl, names?),
        // What the kernel already thinks of the process may be asked, not changed.
        (libc::SYS_personality, vec![only(0, Eq, 0xffff_ffff)?]),
    ])
}

fn condition(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, LayerError> {
    // The low half: what the kernel reads of these arguments.
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
        .map_err(|error| LayerError::new("seccomp", error))
}

fn one(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, LayerError> {
    SeccompRule::new(conditions).map_err(|error| LayerError::new("seccomp", error))
}

/// Flags of `clone` that make namespaces.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32 as u64;

/// Questions and names; nothing that undoes a layer or lets others read memory.
const PRCTL: &[i32] = &[
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_GET_DUMPABLE,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_GET_SECCOMP,
    libc::PR_CAPBSET_READ,
    libc::PR_SET_PDEATHSIG,
    libc::PR_GET_PDEATHSIG,
    // Names of anonymous memory, which allocators give.
    0x5356_4d41,
];

/// Reading and writing what is open, memory, time, and the end.
const COMPUTE: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_close,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What an interpreter, a shell and a compiler need besides.
const PROGRAM: &[i64] = &[
    // Files.
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mknodat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_fadvise64,
    libc::SYS_flock,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_close_range,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_memfd_create,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_signalfd4,
    // Sockets between its own processes; `socket` itself is conditional.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    // Memory.
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    libc::SYS_get_mempolicy,
    // Processes and threads of its own.
    libc::SYS_execve,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_setpgid,
    libc::SYS_getsid,
    libc::SYS_setsid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_getpriority,
    libc::SYS_getcpu,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    // Signals and time.
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigsuspend,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getdents,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_create,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_eventfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getpgrp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_alarm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pause,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_compile_and_the_short_one_is_part_of_the_long_one() {
        for caller in [Caller::Compute, Caller::Program] {
            let (denied, list) = programs(caller).unwrap();
            assert!(!denied.is_empty() && list.len() > 30, "{caller:?}");
        }
        assert!(COMPUTE.iter().all(|call| !PROGRAM.contains(call)), "named once");
    }

    #[test]
    fn nothing_that_leaves_a_jail_is_on_a_list() {
        let doors = [
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_ptrace,
            libc::SYS_bpf,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_open_by_handle_at,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_seccomp,
            libc::SYS_mlock,
            libc::SYS_execveat,
            libc::SYS_setuid,
            libc::SYS_sched_setscheduler,
            libc::SYS_shmget,
            libc::SYS_mq_open,
            libc::SYS_fsopen,
            libc::SYS_move_mount,
            libc::SYS_mount_setattr,
        ];
        for door in doors {
            assert!(!COMPUTE.contains(&door) && !PROGRAM.contains(&door), "{door}");
        }
    }
}
