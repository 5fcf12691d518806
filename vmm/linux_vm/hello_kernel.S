// SPDX-License-Identifier: Apache-2.0
//
// The 64-bit code of a kernel that says which device is at 00:01.0 and turns the
// power off, for tests on a machine's KVM. It is position independent, and uses
// no stack.

.intel_syntax noprefix

// As guest_layout.h has them.
.set CONFIG_ADDRESS_PORT, 0xcf8
.set CONFIG_DATA_PORT, 0xcfc
.set SERIAL_PORT, 0x3f8
.set PM1_CONTROL_PORT, 0x604

// Vendor and device ID of 00:01.0 (PCI Local Bus 3.0, 3.2.2.3.2).
.set IDS_OF_SLOT_1, 0x80000800
// SLP_TYP 5 and SLP_EN (ACPI 6.5, 4.8.3.2.1).
.set POWER_OFF, 5 << 10 | 1 << 13

.section .rodata.passthru_hello_kernel, "a", @progbits
.balign 16
.global passthru_hello_kernel_begin
passthru_hello_kernel_begin:
        mov     edx, CONFIG_ADDRESS_PORT
        mov     eax, IDS_OF_SLOT_1
        out     dx, eax
        mov     edx, CONFIG_DATA_PORT
        in      eax, dx
        mov     ebx, eax

        mov     edx, SERIAL_PORT
        lea     rsi, [rip + text]
        mov     al, [rsi]
next_letter:
        out     dx, al
        inc     rsi
        mov     al, [rsi]
        test    al, al
        jnz     next_letter

        // The vendor is the lower half of the register.
        rol     ebx, 16
        mov     ecx, 8
next_digit:
        rol     ebx, 4
        mov     al, bl
        and     al, 15
        add     al, '0'
        cmp     al, '9'
        jbe     decimal
        add     al, 'a' - '0' - 10
decimal:
        out     dx, al
        cmp     ecx, 5
        jne     no_colon
        mov     al, ':'
        out     dx, al
no_colon:
        dec     ecx
        jnz     next_digit
        mov     al, '\n'
        out     dx, al

        mov     edx, PM1_CONTROL_PORT
        mov     eax, POWER_OFF
        out     dx, ax
halt:
        hlt
        jmp     halt

text:
        .asciz  "guest: 00:01.0 is "
.global passthru_hello_kernel_end
passthru_hello_kernel_end:

.section .note.GNU-stack, "", @progbits
