// SPDX-License-Identifier: Apache-2.0
//
// The guest agent is a program in 64-bit long mode. It executes, one at a time,
// the loads, stores, port accesses and interrupt waits that AgentCpu requests.
// It is position independent. WriteAgentImage() copies it into guest RAM and
// builds the page tables, GDT and IDT around it.
//
// agent_layout.h is the contract between the two. The numbers below repeat it.

.intel_syntax noprefix

.set MAILBOX, 0x1000
.set MAILBOX_OP, 0x00
.set MAILBOX_WIDTH, 0x04
.set MAILBOX_ADDRESS, 0x08
.set MAILBOX_VALUE, 0x10
.set MAILBOX_HEAD, 0x18
.set MAILBOX_TAIL, 0x1c
.set MAILBOX_RING, 0x100
.set RING_MASK, 0xff

.set OP_LOAD, 1
.set OP_STORE, 2
.set OP_IN, 3
.set OP_OUT, 4
.set OP_WAIT, 5
.set OP_STOP, 6

.set COMMAND_PORT, 0x510
.set EXCEPTION_PORT, 0x514
.set STOP_PORT, 0x518

// These local APIC registers are in the default page (Intel SDM vol. 3,
// 11.4.1).
.set LAPIC_EOI, 0xfee000b0
.set LAPIC_SPURIOUS, 0xfee000f0

.section .rodata.passthru_guest_agent, "a", @progbits
.balign 16
.global passthru_guest_agent_begin
passthru_guest_agent_begin:
        // This software-enables the local APIC (SDM 11.9), which otherwise
        // drops every MSI.
        mov     ecx, LAPIC_SPURIOUS
        mov     dword ptr [rcx], 0x1ff

next:
        // The exit reports the last command as done and requests the next
        // one. The host fills the mailbox before it enters the guest again.
        mov     edx, COMMAND_PORT
        out     dx, al
        mov     ebx, MAILBOX
        mov     rsi, [rbx + MAILBOX_ADDRESS]
        mov     ecx, [rbx + MAILBOX_WIDTH]
        mov     eax, [rbx + MAILBOX_OP]
        cmp     eax, OP_LOAD
        je      load
        cmp     eax, OP_STORE
        je      store
        cmp     eax, OP_IN
        je      port_in
        cmp     eax, OP_OUT
        je      port_out
        cmp     eax, OP_WAIT
        je      wait
        // The command is OP_STOP or an unknown one.
        mov     edx, STOP_PORT
        out     dx, al
halt:
        // The host does not enter the guest again.
        cli
        hlt
        jmp     halt

load:
        cmp     ecx, 2
        jb      load8
        je      load16
        cmp     ecx, 8
        je      load64
        mov     eax, [rsi]
        jmp     answer
load8:
        movzx   eax, byte ptr [rsi]
        jmp     answer
load16:
        movzx   eax, word ptr [rsi]
        jmp     answer
load64:
        mov     rax, [rsi]
answer:
        mov     [rbx + MAILBOX_VALUE], rax
        jmp     next

store:
        mov     rax, [rbx + MAILBOX_VALUE]
        cmp     ecx, 2
        jb      store8
        je      store16
        cmp     ecx, 8
        je      store64
        mov     [rsi], eax
        jmp     next
store8:
        mov     [rsi], al
        jmp     next
store16:
        mov     [rsi], ax
        jmp     next
store64:
        mov     [rsi], rax
        jmp     next

port_in:
        mov     edx, esi
        xor     eax, eax
        cmp     ecx, 2
        jb      in8
        je      in16
        in      eax, dx
        jmp     answer
in8:
        in      al, dx
        jmp     answer
in16:
        in      ax, dx
        jmp     answer

port_out:
        mov     edx, esi
        mov     rax, [rbx + MAILBOX_VALUE]
        cmp     ecx, 2
        jb      out8
        je      out16
        out     dx, eax
        jmp     next
out8:
        out     dx, al
        jmp     next
out16:
        out     dx, ax
        jmp     next

wait:
        mov     ecx, [rbx + MAILBOX_TAIL]
        cmp     ecx, [rbx + MAILBOX_HEAD]
        jne     taken
        // STI holds interrupts off for one more instruction (SDM, STI), so the
        // CPU takes none between the test above and HLT.
        sti
        hlt
        cli
        jmp     wait
taken:
        and     ecx, RING_MASK
        movzx   eax, byte ptr [rbx + MAILBOX_RING + rcx]
        inc     dword ptr [rbx + MAILBOX_TAIL]
        jmp     answer

interrupt:
        push    rax
        push    rcx
        push    rbx
        // From its top, the stack holds rbx, rcx, rax, the vector and the
        // interrupt frame.
        mov     rax, [rsp + 24]
        mov     ebx, MAILBOX
        mov     ecx, [rbx + MAILBOX_HEAD]
        and     ecx, RING_MASK
        mov     [rbx + MAILBOX_RING + rcx], al
        inc     dword ptr [rbx + MAILBOX_HEAD]
        mov     ecx, LAPIC_EOI
        mov     dword ptr [rcx], 0
        pop     rbx
        pop     rcx
        pop     rax
        add     rsp, 8
        iretq

exception:
        // This does not return. The host learns the vector and gives up.
        pop     rax
        mov     edx, EXCEPTION_PORT
        out     dx, al
        jmp     halt

// Each vector has a stub of 16 bytes. The first 32 vectors are exceptions
// (SDM 6.3.1).
.balign 16
.global passthru_guest_agent_vectors
passthru_guest_agent_vectors:
.set vector, 0
.rept 256
        .balign 16
        push    vector
        .if vector < 32
        jmp     exception
        .else
        jmp     interrupt
        .endif
        .set vector, vector + 1
.endr
.balign 16
.global passthru_guest_agent_end
passthru_guest_agent_end:

.section .note.GNU-stack, "", @progbits
