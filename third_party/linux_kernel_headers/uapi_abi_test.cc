// The kernel's ABI, as literals: the number of every VFIO, iommufd and (on x86)
// KVM ioctl that a VMM may use, the size of every struct, and where each
// variable tail begins. The compiler checks it all.
//
// An ioctl's number encodes the size of its struct, and before 6.12 the
// headers' flexible arrays came out one element too far in C++ (though not in
// C): the kernel then answers ENOTTY, while a fake compiled against the same
// headers agrees with the mistake. Hence literals, taken from C.

#include <linux/iommufd.h>
#include <linux/kvm.h>
#include <linux/vfio.h>

#include <cstddef>

// VFIO: ioctl numbers.
static_assert(VFIO_GET_API_VERSION == 0x3b64);
static_assert(VFIO_CHECK_EXTENSION == 0x3b65);
static_assert(VFIO_SET_IOMMU == 0x3b66);
static_assert(VFIO_GROUP_GET_STATUS == 0x3b67);
static_assert(VFIO_GROUP_SET_CONTAINER == 0x3b68);
static_assert(VFIO_GROUP_UNSET_CONTAINER == 0x3b69);
static_assert(VFIO_GROUP_GET_DEVICE_FD == 0x3b6a);
static_assert(VFIO_DEVICE_GET_INFO == 0x3b6b);
static_assert(VFIO_DEVICE_GET_REGION_INFO == 0x3b6c);
static_assert(VFIO_DEVICE_GET_IRQ_INFO == 0x3b6d);
static_assert(VFIO_DEVICE_SET_IRQS == 0x3b6e);
static_assert(VFIO_DEVICE_RESET == 0x3b6f);
static_assert(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO == 0x3b70);
static_assert(VFIO_DEVICE_PCI_HOT_RESET == 0x3b71);
static_assert(VFIO_DEVICE_QUERY_GFX_PLANE == 0x3b72);
static_assert(VFIO_DEVICE_GET_GFX_DMABUF == 0x3b73);
static_assert(VFIO_DEVICE_IOEVENTFD == 0x3b74);
static_assert(VFIO_DEVICE_FEATURE == 0x3b75);
static_assert(VFIO_DEVICE_BIND_IOMMUFD == 0x3b76);
static_assert(VFIO_DEVICE_ATTACH_IOMMUFD_PT == 0x3b77);
static_assert(VFIO_DEVICE_DETACH_IOMMUFD_PT == 0x3b78);
static_assert(VFIO_MIG_GET_PRECOPY_INFO == 0x3b79);
static_assert(VFIO_IOMMU_GET_INFO == 0x3b70);
static_assert(VFIO_IOMMU_MAP_DMA == 0x3b71);
static_assert(VFIO_IOMMU_UNMAP_DMA == 0x3b72);
static_assert(VFIO_IOMMU_ENABLE == 0x3b73);
static_assert(VFIO_IOMMU_DISABLE == 0x3b74);
static_assert(VFIO_IOMMU_DIRTY_PAGES == 0x3b75);

// VFIO: sizes.
static_assert(sizeof(vfio_info_cap_header) == 8);
static_assert(sizeof(vfio_group_status) == 8);
static_assert(sizeof(vfio_device_info) == 24);
static_assert(sizeof(vfio_device_info_cap_pci_atomic_comp) == 16);
static_assert(sizeof(vfio_region_info) == 32);
static_assert(sizeof(vfio_region_sparse_mmap_area) == 16);
static_assert(sizeof(vfio_region_info_cap_sparse_mmap) == 16);
static_assert(sizeof(vfio_region_info_cap_type) == 16);
static_assert(sizeof(vfio_irq_info) == 16);
static_assert(sizeof(vfio_irq_set) == 20);
static_assert(sizeof(vfio_pci_dependent_device) == 8);
static_assert(sizeof(vfio_pci_hot_reset_info) == 12);
static_assert(sizeof(vfio_pci_hot_reset) == 12);
static_assert(sizeof(vfio_device_ioeventfd) == 32);
static_assert(sizeof(vfio_device_feature) == 8);
static_assert(sizeof(vfio_device_bind_iommufd) == 16);
static_assert(sizeof(vfio_device_attach_iommufd_pt) == 12);
static_assert(sizeof(vfio_device_detach_iommufd_pt) == 8);
static_assert(sizeof(vfio_device_feature_migration) == 8);
static_assert(sizeof(vfio_device_feature_mig_state) == 8);
static_assert(sizeof(vfio_precopy_info) == 24);
static_assert(sizeof(vfio_device_low_power_entry_with_wakeup) == 8);
static_assert(sizeof(vfio_device_feature_dma_logging_control) == 24);
static_assert(sizeof(vfio_device_feature_dma_logging_range) == 16);
static_assert(sizeof(vfio_device_feature_dma_logging_report) == 32);
static_assert(sizeof(vfio_device_feature_mig_data_size) == 8);
static_assert(sizeof(vfio_device_feature_bus_master) == 4);
static_assert(sizeof(vfio_iommu_type1_info) == 24);
static_assert(sizeof(vfio_iova_range) == 16);
static_assert(sizeof(vfio_iommu_type1_info_cap_iova_range) == 16);
static_assert(sizeof(vfio_iommu_type1_info_cap_migration) == 32);
static_assert(sizeof(vfio_iommu_type1_info_dma_avail) == 12);
static_assert(sizeof(vfio_iommu_type1_dma_map) == 32);
static_assert(sizeof(vfio_bitmap) == 24);
static_assert(sizeof(vfio_iommu_type1_dma_unmap) == 24);
static_assert(sizeof(vfio_iommu_type1_dirty_bitmap) == 8);
static_assert(sizeof(vfio_iommu_type1_dirty_bitmap_get) == 40);

// VFIO: where variable tails begin.
static_assert(offsetof(vfio_irq_set, data) == 20);
static_assert(offsetof(vfio_region_info_cap_sparse_mmap, areas) == 16);
static_assert(offsetof(vfio_pci_hot_reset_info, devices) == 12);
static_assert(offsetof(vfio_pci_hot_reset, group_fds) == 12);
static_assert(offsetof(vfio_device_feature, data) == 8);
static_assert(offsetof(vfio_iommu_type1_info_cap_iova_range, iova_ranges) ==
              16);
static_assert(offsetof(vfio_iommu_type1_dma_unmap, data) == 24);
static_assert(offsetof(vfio_iommu_type1_dirty_bitmap, data) == 8);

// VFIO: where some fields are.
static_assert(offsetof(vfio_device_info, cap_offset) == 16);
static_assert(offsetof(vfio_region_info, cap_offset) == 12);
static_assert(offsetof(vfio_region_info, size) == 16);
static_assert(offsetof(vfio_region_info, offset) == 24);
static_assert(offsetof(vfio_iommu_type1_info, cap_offset) == 16);
static_assert(offsetof(vfio_info_cap_header, next) == 4);

// iommufd: ioctl numbers.
static_assert(IOMMU_DESTROY == 0x3b80);
static_assert(IOMMU_IOAS_ALLOC == 0x3b81);
static_assert(IOMMU_IOAS_IOVA_RANGES == 0x3b84);
static_assert(IOMMU_IOAS_ALLOW_IOVAS == 0x3b82);
static_assert(IOMMU_IOAS_MAP == 0x3b85);
static_assert(IOMMU_IOAS_COPY == 0x3b83);
static_assert(IOMMU_IOAS_UNMAP == 0x3b86);
static_assert(IOMMU_OPTION == 0x3b87);
static_assert(IOMMU_VFIO_IOAS == 0x3b88);
static_assert(IOMMU_HWPT_ALLOC == 0x3b89);
static_assert(IOMMU_GET_HW_INFO == 0x3b8a);
static_assert(IOMMU_HWPT_SET_DIRTY_TRACKING == 0x3b8b);
static_assert(IOMMU_HWPT_GET_DIRTY_BITMAP == 0x3b8c);
static_assert(IOMMU_HWPT_INVALIDATE == 0x3b8d);
static_assert(IOMMU_FAULT_QUEUE_ALLOC == 0x3b8e);

// iommufd: sizes.
static_assert(sizeof(iommu_destroy) == 8);
static_assert(sizeof(iommu_ioas_alloc) == 12);
static_assert(sizeof(iommu_iova_range) == 16);
static_assert(sizeof(iommu_ioas_iova_ranges) == 32);
static_assert(sizeof(iommu_ioas_allow_iovas) == 24);
static_assert(sizeof(iommu_ioas_map) == 40);
static_assert(sizeof(iommu_ioas_copy) == 40);
static_assert(sizeof(iommu_ioas_unmap) == 24);
static_assert(sizeof(iommu_option) == 24);
static_assert(sizeof(iommu_vfio_ioas) == 12);
static_assert(sizeof(iommu_hwpt_vtd_s1) == 24);
static_assert(sizeof(iommu_hwpt_alloc) == 48);
static_assert(sizeof(iommu_hw_info_vtd) == 24);
static_assert(sizeof(iommu_hw_info) == 40);
static_assert(sizeof(iommu_hwpt_set_dirty_tracking) == 16);
static_assert(sizeof(iommu_hwpt_get_dirty_bitmap) == 48);
static_assert(sizeof(iommu_hwpt_vtd_s1_invalidate) == 24);
static_assert(sizeof(iommu_hwpt_invalidate) == 32);
static_assert(sizeof(iommu_hwpt_pgfault) == 40);
static_assert(sizeof(iommu_hwpt_page_response) == 8);
static_assert(sizeof(iommu_fault_alloc) == 16);

// iommufd: where some fields are.
static_assert(offsetof(iommu_ioas_map, iova) == 32);
static_assert(offsetof(iommu_ioas_unmap, length) == 16);
static_assert(offsetof(iommu_ioas_iova_ranges, out_iova_alignment) == 24);
static_assert(offsetof(iommu_hwpt_alloc, out_hwpt_id) == 16);

// KVM: ioctl numbers.
static_assert(KVM_GET_API_VERSION == 0xae00);
static_assert(KVM_CREATE_VM == 0xae01);
static_assert(KVM_GET_MSR_INDEX_LIST == 0xc004ae02);
static_assert(KVM_CHECK_EXTENSION == 0xae03);
static_assert(KVM_GET_VCPU_MMAP_SIZE == 0xae04);
static_assert(KVM_GET_SUPPORTED_CPUID == 0xc008ae05);
static_assert(KVM_GET_EMULATED_CPUID == 0xc008ae09);
static_assert(KVM_GET_MSR_FEATURE_INDEX_LIST == 0xc004ae0a);
static_assert(KVM_CREATE_VCPU == 0xae41);
static_assert(KVM_GET_DIRTY_LOG == 0x4010ae42);
static_assert(KVM_SET_NR_MMU_PAGES == 0xae44);
static_assert(KVM_GET_NR_MMU_PAGES == 0xae45);
static_assert(KVM_SET_USER_MEMORY_REGION == 0x4020ae46);
static_assert(KVM_SET_TSS_ADDR == 0xae47);
static_assert(KVM_SET_IDENTITY_MAP_ADDR == 0x4008ae48);
static_assert(KVM_SET_USER_MEMORY_REGION2 == 0x40a0ae49);
static_assert(KVM_CREATE_IRQCHIP == 0xae60);
static_assert(KVM_IRQ_LINE == 0x4008ae61);
static_assert(KVM_GET_IRQCHIP == 0xc208ae62);
static_assert(KVM_SET_IRQCHIP == 0x8208ae63);
static_assert(KVM_CREATE_PIT == 0xae64);
static_assert(KVM_GET_PIT == 0xc048ae65);
static_assert(KVM_SET_PIT == 0x8048ae66);
static_assert(KVM_IRQ_LINE_STATUS == 0xc008ae67);
static_assert(KVM_REGISTER_COALESCED_MMIO == 0x4010ae67);
static_assert(KVM_UNREGISTER_COALESCED_MMIO == 0x4010ae68);
static_assert(KVM_SET_GSI_ROUTING == 0x4008ae6a);
static_assert(KVM_REINJECT_CONTROL == 0xae71);
static_assert(KVM_IRQFD == 0x4020ae76);
static_assert(KVM_CREATE_PIT2 == 0x4040ae77);
static_assert(KVM_SET_BOOT_CPU_ID == 0xae78);
static_assert(KVM_IOEVENTFD == 0x4040ae79);
static_assert(KVM_SET_CLOCK == 0x4030ae7b);
static_assert(KVM_GET_CLOCK == 0x8030ae7c);
static_assert(KVM_GET_PIT2 == 0x8070ae9f);
static_assert(KVM_SET_PIT2 == 0x4070aea0);
static_assert(KVM_SET_TSC_KHZ == 0xaea2);
static_assert(KVM_GET_TSC_KHZ == 0xaea3);
static_assert(KVM_SIGNAL_MSI == 0x4020aea5);
static_assert(KVM_SET_PMU_EVENT_FILTER == 0x4020aeb2);
static_assert(KVM_CREATE_DEVICE == 0xc00caee0);
static_assert(KVM_SET_DEVICE_ATTR == 0x4018aee1);
static_assert(KVM_GET_DEVICE_ATTR == 0x4018aee2);
static_assert(KVM_HAS_DEVICE_ATTR == 0x4018aee3);
static_assert(KVM_RUN == 0xae80);
static_assert(KVM_GET_REGS == 0x8090ae81);
static_assert(KVM_SET_REGS == 0x4090ae82);
static_assert(KVM_GET_SREGS == 0x8138ae83);
static_assert(KVM_SET_SREGS == 0x4138ae84);
static_assert(KVM_TRANSLATE == 0xc018ae85);
static_assert(KVM_INTERRUPT == 0x4004ae86);
static_assert(KVM_GET_MSRS == 0xc008ae88);
static_assert(KVM_SET_MSRS == 0x4008ae89);
static_assert(KVM_SET_CPUID == 0x4008ae8a);
static_assert(KVM_SET_SIGNAL_MASK == 0x4004ae8b);
static_assert(KVM_GET_FPU == 0x81a0ae8c);
static_assert(KVM_SET_FPU == 0x41a0ae8d);
static_assert(KVM_GET_LAPIC == 0x8400ae8e);
static_assert(KVM_SET_LAPIC == 0x4400ae8f);
static_assert(KVM_SET_CPUID2 == 0x4008ae90);
static_assert(KVM_GET_CPUID2 == 0xc008ae91);
static_assert(KVM_TPR_ACCESS_REPORTING == 0xc028ae92);
static_assert(KVM_SET_VAPIC_ADDR == 0x4008ae93);
static_assert(KVM_GET_MP_STATE == 0x8004ae98);
static_assert(KVM_SET_MP_STATE == 0x4004ae99);
static_assert(KVM_NMI == 0xae9a);
static_assert(KVM_SET_GUEST_DEBUG == 0x4048ae9b);
static_assert(KVM_X86_SETUP_MCE == 0x4008ae9c);
static_assert(KVM_X86_GET_MCE_CAP_SUPPORTED == 0x8008ae9d);
static_assert(KVM_X86_SET_MCE == 0x4040ae9e);
static_assert(KVM_GET_VCPU_EVENTS == 0x8040ae9f);
static_assert(KVM_SET_VCPU_EVENTS == 0x4040aea0);
static_assert(KVM_GET_DEBUGREGS == 0x8080aea1);
static_assert(KVM_SET_DEBUGREGS == 0x4080aea2);
static_assert(KVM_ENABLE_CAP == 0x4068aea3);
static_assert(KVM_GET_XSAVE == 0x9000aea4);
static_assert(KVM_SET_XSAVE == 0x5000aea5);
static_assert(KVM_GET_XCRS == 0x8188aea6);
static_assert(KVM_SET_XCRS == 0x4188aea7);
static_assert(KVM_GET_ONE_REG == 0x4010aeab);
static_assert(KVM_SET_ONE_REG == 0x4010aeac);
static_assert(KVM_KVMCLOCK_CTRL == 0xaead);
static_assert(KVM_GET_REG_LIST == 0xc008aeb0);
static_assert(KVM_SMI == 0xaeb7);
static_assert(KVM_GET_NESTED_STATE == 0xc080aebe);
static_assert(KVM_SET_NESTED_STATE == 0x4080aebf);
static_assert(KVM_CLEAR_DIRTY_LOG == 0xc018aec0);
static_assert(KVM_X86_SET_MSR_FILTER == 0x4188aec6);
static_assert(KVM_RESET_DIRTY_RINGS == 0xaec7);
static_assert(KVM_GET_SREGS2 == 0x8140aecc);
static_assert(KVM_SET_SREGS2 == 0x4140aecd);
static_assert(KVM_GET_STATS_FD == 0xaece);
static_assert(KVM_GET_XSAVE2 == 0x9000aecf);
static_assert(KVM_SET_MEMORY_ATTRIBUTES == 0x4020aed2);
static_assert(KVM_CREATE_GUEST_MEMFD == 0xc040aed4);
static_assert(KVM_PRE_FAULT_MEMORY == 0xc040aed5);

// KVM: sizes.
static_assert(sizeof(kvm_userspace_memory_region) == 32);
static_assert(sizeof(kvm_userspace_memory_region2) == 160);
static_assert(sizeof(kvm_irq_level) == 8);
static_assert(sizeof(kvm_irqchip) == 520);
static_assert(sizeof(kvm_pit_config) == 64);
static_assert(sizeof(kvm_run) == 2352);
static_assert(sizeof(kvm_coalesced_mmio_zone) == 16);
static_assert(sizeof(kvm_coalesced_mmio) == 24);
static_assert(sizeof(kvm_coalesced_mmio_ring) == 8);
static_assert(sizeof(kvm_translation) == 24);
static_assert(sizeof(kvm_interrupt) == 4);
static_assert(sizeof(kvm_dirty_log) == 16);
static_assert(sizeof(kvm_clear_dirty_log) == 24);
static_assert(sizeof(kvm_signal_mask) == 4);
static_assert(sizeof(kvm_tpr_access_ctl) == 40);
static_assert(sizeof(kvm_vapic_addr) == 8);
static_assert(sizeof(kvm_mp_state) == 4);
static_assert(sizeof(kvm_guest_debug) == 72);
static_assert(sizeof(kvm_ioeventfd) == 64);
static_assert(sizeof(kvm_enable_cap) == 104);
static_assert(sizeof(kvm_irq_routing_irqchip) == 8);
static_assert(sizeof(kvm_irq_routing_msi) == 16);
static_assert(sizeof(kvm_irq_routing_entry) == 48);
static_assert(sizeof(kvm_irq_routing) == 8);
static_assert(sizeof(kvm_irqfd) == 32);
static_assert(sizeof(kvm_clock_data) == 48);
static_assert(sizeof(kvm_reg_list) == 8);
static_assert(sizeof(kvm_one_reg) == 16);
static_assert(sizeof(kvm_msi) == 32);
static_assert(sizeof(kvm_create_device) == 12);
static_assert(sizeof(kvm_device_attr) == 24);
static_assert(sizeof(kvm_enc_region) == 16);
static_assert(sizeof(kvm_dirty_gfn) == 16);
static_assert(sizeof(kvm_stats_header) == 24);
static_assert(sizeof(kvm_stats_desc) == 16);
static_assert(sizeof(kvm_memory_attributes) == 32);
static_assert(sizeof(kvm_create_guest_memfd) == 64);
static_assert(sizeof(kvm_pre_fault_memory) == 64);
static_assert(sizeof(kvm_pic_state) == 16);
static_assert(sizeof(kvm_ioapic_state) == 216);
static_assert(sizeof(kvm_regs) == 144);
static_assert(sizeof(kvm_lapic_state) == 1024);
static_assert(sizeof(kvm_segment) == 24);
static_assert(sizeof(kvm_dtable) == 16);
static_assert(sizeof(kvm_sregs) == 312);
static_assert(sizeof(kvm_sregs2) == 320);
static_assert(sizeof(kvm_fpu) == 416);
static_assert(sizeof(kvm_msr_entry) == 16);
static_assert(sizeof(kvm_msrs) == 8);
static_assert(sizeof(kvm_msr_list) == 4);
static_assert(sizeof(kvm_msr_filter_range) == 24);
static_assert(sizeof(kvm_msr_filter) == 392);
static_assert(sizeof(kvm_cpuid_entry) == 24);
static_assert(sizeof(kvm_cpuid) == 8);
static_assert(sizeof(kvm_cpuid_entry2) == 40);
static_assert(sizeof(kvm_cpuid2) == 8);
static_assert(sizeof(kvm_pit_channel_state) == 24);
static_assert(sizeof(kvm_debug_exit_arch) == 32);
static_assert(sizeof(kvm_guest_debug_arch) == 64);
static_assert(sizeof(kvm_pit_state) == 72);
static_assert(sizeof(kvm_pit_state2) == 112);
static_assert(sizeof(kvm_reinject_control) == 32);
static_assert(sizeof(kvm_vcpu_events) == 64);
static_assert(sizeof(kvm_debugregs) == 128);
static_assert(sizeof(kvm_xsave) == 4096);
static_assert(sizeof(kvm_xcr) == 16);
static_assert(sizeof(kvm_xcrs) == 392);
static_assert(sizeof(kvm_nested_state) == 128);
static_assert(sizeof(kvm_pmu_event_filter) == 32);
static_assert(sizeof(kvm_x86_mce) == 64);

// KVM: where variable tails begin.
static_assert(offsetof(kvm_irq_routing, entries) == 8);
static_assert(offsetof(kvm_cpuid, entries) == 8);
static_assert(offsetof(kvm_cpuid2, entries) == 8);
static_assert(offsetof(kvm_msrs, entries) == 8);
static_assert(offsetof(kvm_msr_list, indices) == 4);
static_assert(offsetof(kvm_signal_mask, sigset) == 4);
static_assert(offsetof(kvm_reg_list, reg) == 8);
static_assert(offsetof(kvm_coalesced_mmio_ring, coalesced_mmio) == 8);
static_assert(offsetof(kvm_pmu_event_filter, events) == 32);
static_assert(offsetof(kvm_stats_desc, name) == 16);
static_assert(offsetof(kvm_xsave, extra) == 4096);
static_assert(offsetof(kvm_nested_state, data) == 128);

// KVM: where some fields are.
static_assert(offsetof(kvm_irq_routing_entry, u) == 16);
static_assert(offsetof(kvm_run, exit_reason) == 8);
static_assert(offsetof(kvm_run, io) == 32);
static_assert(offsetof(kvm_run, mmio) == 32);
static_assert(offsetof(kvm_run, kvm_valid_regs) == 288);
static_assert(offsetof(kvm_run, s) == 304);
static_assert(offsetof(kvm_lapic_state, regs) == 0);

int main() { return 0; }
