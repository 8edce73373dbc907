// SPDX-License-Identifier: GPL-2.0

#include <linux/backing-dev.h>
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/rcupdate_wait.h>
#include <linux/sched.h>
#include <linux/vmstat.h>
#include <linux/xarray.h>

__rust_helper void rust_helper_i_mmap_lock_read(struct address_space *mapping)
{
	i_mmap_lock_read(mapping);
}

__rust_helper void rust_helper_i_mmap_unlock_read(struct address_space *mapping)
{
	i_mmap_unlock_read(mapping);
}

__rust_helper loff_t rust_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

__rust_helper unsigned int rust_helper_mapping_min_folio_order(const struct address_space *mapping)
{
	return mapping_min_folio_order(mapping);
}

__rust_helper unsigned int rust_helper_mapping_max_folio_order(const struct address_space *mapping)
{
	return mapping_max_folio_order(mapping);
}

__rust_helper bool rust_helper_inode_is_open_for_write(const struct inode *inode)
{
	return inode_is_open_for_write(inode);
}

__rust_helper bool rust_helper_mapping_can_writeback(struct address_space *mapping)
{
	return mapping_can_writeback(mapping);
}

/* page_cache_sync_readahead() with the read-ahead state of the file itself */
__rust_helper void
rust_helper_collapse_read_ahead(struct file *file, pgoff_t index, unsigned long nr)
{
	page_cache_sync_readahead(file->f_mapping, &file->f_ra, file, index, nr);
}

__rust_helper struct folio *
rust_helper_filemap_lock_folio(struct address_space *mapping, pgoff_t index)
{
	return filemap_lock_folio(mapping, index);
}

__rust_helper bool rust_helper_folio_try_get(struct folio *folio)
{
	return folio_try_get(folio);
}

__rust_helper void rust_helper_folio_ref_add(struct folio *folio, int nr)
{
	folio_ref_add(folio, nr);
}

__rust_helper void rust_helper___folio_set_locked(struct folio *folio)
{
	__folio_set_locked(folio);
}

__rust_helper void rust_helper___folio_set_swapbacked(struct folio *folio)
{
	__folio_set_swapbacked(folio);
}

__rust_helper bool rust_helper_folio_test_uptodate(const struct folio *folio)
{
	return folio_test_uptodate(folio);
}

__rust_helper bool rust_helper_folio_test_dirty(const struct folio *folio)
{
	return folio_test_dirty(folio);
}

__rust_helper bool rust_helper_folio_test_writeback(const struct folio *folio)
{
	return folio_test_writeback(folio);
}

__rust_helper void
rust_helper_lruvec_stat_mod_folio(struct folio *folio, enum node_stat_item idx, int val)
{
	lruvec_stat_mod_folio(folio, idx, val);
}

/* Both are counted in the same places. */
__rust_helper bool
rust_helper_collapse_same_lruvec(const struct folio *a, const struct folio *b)
{
#ifdef CONFIG_MEMCG
	if (a->memcg_data != b->memcg_data)
		return false;
#endif
	return folio_nid(a) == folio_nid(b);
}

__rust_helper bool rust_helper_xa_is_value(const void *entry)
{
	return xa_is_value(entry);
}

__rust_helper bool rust_helper_xas_retry(struct xa_state *xas, const void *entry)
{
	return xas_retry(xas, entry);
}

__rust_helper void rust_helper_xas_reset(struct xa_state *xas)
{
	xas_reset(xas);
}

__rust_helper void *rust_helper_xas_reload(struct xa_state *xas)
{
	return xas_reload(xas);
}

__rust_helper void *rust_helper_xas_next(struct xa_state *xas)
{
	return xas_next(xas);
}

__rust_helper void *rust_helper_xas_next_entry(struct xa_state *xas, unsigned long max)
{
	return xas_next_entry(xas, max);
}

__rust_helper void rust_helper_xas_set(struct xa_state *xas, unsigned long index)
{
	xas_set(xas, index);
}

__rust_helper void rust_helper_xas_set_err(struct xa_state *xas, long err)
{
	xas_set_err(xas, err);
}

__rust_helper int rust_helper_xas_error(const struct xa_state *xas)
{
	return xas_error(xas);
}

__rust_helper void rust_helper_xas_lock_irq(struct xa_state *xas)
{
	xas_lock_irq(xas);
}

__rust_helper void rust_helper_xas_unlock_irq(struct xa_state *xas)
{
	xas_unlock_irq(xas);
}

__rust_helper void *rust_helper_collapse_xa_retry_entry(void)
{
	return XA_RETRY_ENTRY;
}

/* The leaf that the cursor has come to, if there is one, has no entry. */
__rust_helper bool rust_helper_collapse_xas_node_is_empty(const struct xa_state *xas)
{
	return xas->xa_node && xas_valid(xas) && !xas->xa_node->shift && !xas->xa_node->count;
}

__rust_helper pgoff_t rust_helper_collapse_folio_index(const struct folio *folio)
{
	return folio->index;
}

__rust_helper void
rust_helper_collapse_folio_set_place(struct folio *folio, struct address_space *mapping, pgoff_t index)
{
	folio->mapping = mapping;
	folio->index = index;
}

__rust_helper void rust_helper_collapse_folio_clear_place(struct folio *folio)
{
	folio->mapping = NULL;
}

__rust_helper bool rust_helper_collapse_need_resched(void)
{
	return need_resched();
}

__rust_helper void rust_helper_cond_resched_rcu(void)
{
	cond_resched_rcu();
}
