//! The filter that stops the calls of [`CALLS`] for the supervisor, as a classic BPF program: a binary search for
//! the number, then the rows of that call. What is not in the table costs nothing where the kernel keeps a map
//! of calls that a filter lets through (5.11).

use libc::sock_filter;

use super::calls::{CALLS, Call, Way, When};

// linux/bpf_common.h
const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const NOT_LESS: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// linux/audit.h
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// Numbers of the x32 interface have this bit.
const X32: u32 = 0x4000_0000;

const fn op(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn jump(code: u16, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code, jt: yes, jf: no, k }
}

const fn errno(number: i32) -> sock_filter {
    op(RETURN, libc::SECCOMP_RET_ERRNO | number as u32)
}

/// The lower half of an argument.
const fn low(argument: u8) -> u32 {
    ARGUMENTS + 8 * argument as u32
}

/// The whole program.
pub fn program() -> Vec<sock_filter> {
    let mut program = vec![
        // Another interface has other numbers: none of its calls exists here.
        op(LOAD, ARCHITECTURE),
        jump(EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        errno(libc::ENOSYS),
        op(LOAD, NUMBER),
        jump(NOT_LESS, X32, 0, 1),
        errno(libc::ENOSYS),
    ];
    let mut numbers: Vec<u32> = CALLS.iter().map(|call| call.number as u32).collect();
    numbers.sort_unstable();
    numbers.dedup();
    program.extend(search(&numbers));
    program
}

/// Finds the number in the accumulator.
fn search(numbers: &[u32]) -> Vec<sock_filter> {
    if let [number] = *numbers {
        let rows: Vec<_> = CALLS.iter().filter(|call| call.number as u32 == number).flat_map(row).collect();
        let mut code = vec![jump(EQUAL, number, 1, 0), op(RETURN, libc::SECCOMP_RET_ALLOW)];
        code.extend(rows);
        code.push(op(RETURN, libc::SECCOMP_RET_ALLOW));
        return code;
    }
    let (left, right) = numbers.split_at(numbers.len() / 2);
    let (mut left, right_code) = (search(left), search(right));
    // A conditional jump reaches 255 instructions, an unconditional one as far as it takes.
    let mut code = vec![jump(NOT_LESS, right[0], 0, 1), op(JUMP, left.len() as u32)];
    code.append(&mut left);
    code.extend(right_code);
    code
}

/// Returns if the row applies, else runs on.
fn row(call: &Call) -> Vec<sock_filter> {
    let verdict = match call.way {
        Way::Supervisor | Way::Kernel | Way::Refused(..) => op(RETURN, libc::SECCOMP_RET_USER_NOTIF),
        Way::Nobody(number) => errno(number),
    };
    match call.when {
        When::Always => vec![verdict],
        When::Given(argument) => vec![
            op(LOAD, low(argument)),
            jump(EQUAL, 0, 0, 2),
            op(LOAD, low(argument) + 4),
            jump(EQUAL, 0, 1, 0),
            verdict,
        ],
        When::Bits(argument, bits) => vec![op(LOAD, low(argument)), jump(ANY_BIT, bits, 0, 1), verdict],
        When::Lacks(argument, bits) => vec![op(LOAD, low(argument)), jump(ANY_BIT, bits, 1, 0), verdict],
        When::Is(argument, values) => {
            let mut code = vec![op(LOAD, low(argument))];
            for value in values {
                code.extend([jump(EQUAL, *value, 0, 1), verdict]);
            }
            code
        }
        When::Not(argument, mask, values) => {
            let mut code = vec![op(LOAD, low(argument)), op(AND, mask)];
            for (index, value) in values.iter().enumerate() {
                let past = (values.len() - index) as u8;
                code.push(jump(EQUAL, *value, past, 0));
            }
            code.push(verdict);
            code
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(number: u32, architecture: u32, args: [u64; 6]) -> u32 {
        let program = program();
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCHITECTURE => architecture,
            offset => {
                let argument = args[(offset - ARGUMENTS) as usize / 8];
                if offset % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
            }
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let step = |yes: bool| usize::from(if yes { jt } else { jf });
            match code {
                LOAD => accumulator = word(k),
                AND => accumulator &= k,
                EQUAL => at += step(accumulator == k),
                NOT_LESS => at += step(accumulator >= k),
                ANY_BIT => at += step(accumulator & k != 0),
                JUMP => at += k as usize,
                RETURN => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn native(number: libc::c_long, args: [u64; 6]) -> u32 {
        run(number as u32, AUDIT_ARCH_X86_64, args)
    }

    const ASK: u32 = libc::SECCOMP_RET_USER_NOTIF;
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    #[test]
    fn the_program_fits_and_every_row_is_found() {
        assert!(program().len() <= 4096, "{}", program().len());
        for call in CALLS {
            let mut args = [0; 6];
            match call.when {
                When::Always => {}
                When::Given(argument) => args[argument as usize] = 1 << 40,
                When::Bits(argument, bits) => args[argument as usize] = u64::from(bits),
                When::Lacks(argument, bits) => args[argument as usize] = u64::from(!bits),
                When::Is(argument, values) => args[argument as usize] = u64::from(values[0]),
                When::Not(argument, _, values) => {
                    args[argument as usize] = (0..).find(|value| !values.contains(value)).unwrap().into();
                }
            }
            let expected = match call.way {
                Way::Nobody(number) => libc::SECCOMP_RET_ERRNO | number as u32,
                Way::Supervisor | Way::Kernel | Way::Refused(..) => ASK,
            };
            assert_eq!(native(call.number, args), expected, "{}", call.name);
            assert!(call.when.applies(&args), "{}", call.name);
        }
    }

    #[test]
    fn what_is_not_in_the_table_goes_on() {
        for number in 0..600 {
            if CALLS.iter().all(|call| call.number != number) {
                assert_eq!(native(number, [u64::MAX; 6]), ALLOW, "{number}");
            }
        }
    }

    #[test]
    fn rows_apply_by_their_arguments_only() {
        assert_eq!(native(libc::SYS_sendto, [0; 6]), ALLOW);
        assert_eq!(native(libc::SYS_openat, [0, 0, libc::O_PATH as u64, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_mmap, [0, 1, libc::PROT_READ as u64, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_clone, [libc::CLONE_VM as u64, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_clone, [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]), ASK);
        let socket =
            |family: i32, kind: i32| native(libc::SYS_socket, [family as u64, kind as u64, 0, 0, 0, 0]);
        assert_eq!(socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC), ALLOW);
        assert_eq!(socket(libc::AF_INET, libc::SOCK_RAW), ASK);
        assert_eq!(socket(libc::AF_PACKET, libc::SOCK_DGRAM), ASK);
    }

    #[test]
    fn other_interfaces_have_no_calls() {
        let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        assert_eq!(run(5, 0x4000_0003, [0; 6]), refused, "i386");
        assert_eq!(run(X32 | 2, AUDIT_ARCH_X86_64, [0; 6]), refused, "x32");
    }
}
