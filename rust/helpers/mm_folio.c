// SPDX-License-Identifier: GPL-2.0

#include <linux/folio_batch.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/nodemask.h>
#include <linux/pagemap.h>
#include <linux/swap.h>
#include <linux/topology.h>
#include <linux/vmstat.h>

__rust_helper unsigned long rust_helper_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

__rust_helper struct folio *rust_helper_page_folio(struct page *page)
{
	return page_folio(page);
}

__rust_helper struct page *rust_helper_folio_page(struct folio *folio, unsigned long n)
{
	return folio_page(folio, n);
}

__rust_helper bool rust_helper_is_zone_device_page(const struct page *page)
{
	return is_zone_device_page(page);
}

__rust_helper struct folio *rust_helper_pfn_folio(unsigned long pfn)
{
	return pfn_folio(pfn);
}

__rust_helper unsigned long rust_helper_folio_pfn(const struct folio *folio)
{
	return folio_pfn(folio);
}

__rust_helper int rust_helper_folio_nid(const struct folio *folio)
{
	return folio_nid(folio);
}

__rust_helper struct pglist_data *rust_helper_folio_pgdat(const struct folio *folio)
{
	return folio_pgdat(folio);
}

__rust_helper unsigned int rust_helper_folio_order(const struct folio *folio)
{
	return folio_order(folio);
}

__rust_helper long rust_helper_folio_nr_pages(const struct folio *folio)
{
	return folio_nr_pages(folio);
}

__rust_helper bool rust_helper_folio_test_large(const struct folio *folio)
{
	return folio_test_large(folio);
}

__rust_helper bool rust_helper_folio_test_anon(const struct folio *folio)
{
	return folio_test_anon(folio);
}

__rust_helper bool rust_helper_folio_test_lazyfree(const struct folio *folio)
{
	return folio_test_lazyfree(folio);
}

__rust_helper bool rust_helper_folio_test_locked(const struct folio *folio)
{
	return folio_test_locked(folio);
}

__rust_helper bool rust_helper_folio_test_lru(const struct folio *folio)
{
	return folio_test_lru(folio);
}

__rust_helper bool rust_helper_folio_test_young(const struct folio *folio)
{
	return folio_test_young(folio);
}

__rust_helper bool rust_helper_folio_test_referenced(const struct folio *folio)
{
	return folio_test_referenced(folio);
}

__rust_helper int rust_helper_mm_counter_file(struct folio *folio)
{
	return mm_counter_file(folio);
}

__rust_helper bool rust_helper_folio_test_swapcache(const struct folio *folio)
{
	return folio_test_swapcache(folio);
}

__rust_helper bool rust_helper_folio_mapped(const struct folio *folio)
{
	return folio_mapped(folio);
}

__rust_helper int rust_helper_folio_is_file_lru(struct folio *folio)
{
	return folio_is_file_lru(folio);
}

__rust_helper bool rust_helper_folio_maybe_mapped_shared(struct folio *folio)
{
	return folio_maybe_mapped_shared(folio);
}

__rust_helper int rust_helper_folio_expected_ref_count(const struct folio *folio)
{
	return folio_expected_ref_count(folio);
}

__rust_helper int rust_helper_folio_ref_count(const struct folio *folio)
{
	return folio_ref_count(folio);
}

__rust_helper bool rust_helper_folio_trylock(struct folio *folio)
{
	return folio_trylock(folio);
}

__rust_helper void rust_helper_folio_get(struct folio *folio)
{
	folio_get(folio);
}

__rust_helper void rust_helper_folio_put(struct folio *folio)
{
	folio_put(folio);
}

__rust_helper void rust_helper_folio_put_refs(struct folio *folio, int refs)
{
	folio_put_refs(folio, refs);
}

__rust_helper void rust_helper_folio_clear_active(struct folio *folio)
{
	folio_clear_active(folio);
}

__rust_helper void rust_helper_folio_clear_unevictable(struct folio *folio)
{
	folio_clear_unevictable(folio);
}

__rust_helper void rust_helper___folio_mark_uptodate(struct folio *folio)
{
	__folio_mark_uptodate(folio);
}

__rust_helper bool rust_helper_folio_free_swap(struct folio *folio)
{
	return folio_free_swap(folio);
}

__rust_helper struct folio *
rust_helper___folio_alloc(gfp_t gfp, unsigned int order, int nid, nodemask_t *nodes)
{
	return __folio_alloc(gfp, order, nid, nodes);
}

__rust_helper int
rust_helper_mem_cgroup_charge(struct folio *folio, struct mm_struct *mm, gfp_t gfp)
{
	return mem_cgroup_charge(folio, mm, gfp);
}

__rust_helper void
rust_helper_count_memcg_folio_events(struct folio *folio, enum vm_event_item item, unsigned long nr)
{
	count_memcg_folio_events(folio, item, nr);
}

__rust_helper void rust_helper_count_vm_event(enum vm_event_item item)
{
	count_vm_event(item);
}

__rust_helper void rust_helper_count_mthp_stat(int order, enum mthp_stat_item item)
{
	count_mthp_stat(order, item);
}

__rust_helper void
rust_helper_mod_node_page_state(struct pglist_data *pgdat, enum node_stat_item item, long nr)
{
	mod_node_page_state(pgdat, item, nr);
}

__rust_helper int
rust_helper_copy_mc_user_highpage(struct page *to, struct page *from, unsigned long vaddr, struct vm_area_struct *vma)
{
	return copy_mc_user_highpage(to, from, vaddr, vma);
}

__rust_helper void
rust_helper_clear_user_highpages(struct page *page, unsigned long vaddr, unsigned int nr)
{
	clear_user_highpages(page, vaddr, nr);
}

__rust_helper int rust_helper_copy_mc_highpage(struct page *to, struct page *from)
{
	return copy_mc_highpage(to, from);
}

__rust_helper void rust_helper_clear_highpage(struct page *page)
{
	clear_highpage(page);
}

__rust_helper void rust_helper_folio_batch_init(struct folio_batch *batch)
{
	folio_batch_init(batch);
}

__rust_helper unsigned int
rust_helper_folio_batch_add(struct folio_batch *batch, struct folio *folio)
{
	return folio_batch_add(batch, folio);
}

__rust_helper void rust_helper_folios_put(struct folio_batch *batch)
{
	folios_put(batch);
}

__rust_helper unsigned int rust_helper_collapse_nr_node_ids(void)
{
	return nr_node_ids;
}

__rust_helper bool rust_helper_node_state_online(int nid)
{
	return node_online(nid);
}

__rust_helper int rust_helper_node_distance(int from, int to)
{
	return node_distance(from, to);
}

__rust_helper void rust_helper___node_set(int nid, nodemask_t *mask)
{
	node_set(nid, *mask);
}

__rust_helper void rust_helper___nodes_clear(nodemask_t *mask)
{
	nodes_clear(*mask);
}
