"""Clearing the cache by group, as Frappe's `frappe.clear_cache` and `frappe.cache_manager` do.

Frappe keeps some of what belongs to a user or a DocType in hashes, one field each. The names of these hashes are those
of Frappe 15 and 16 (`frappe/cache_manager.py`), so that clearing works on a real site's cache too.
"""

from __future__ import annotations

from typing import Final

from . import context, keys
from .local_caching import clear_site_caches
from .redis_wrapper import RedisWrapper

USER_HASHES: Final = (
    *("bootinfo", "user_recent", "roles", "user_doc", "lang", "defaults", "user_permissions", "home_page"),
    *("linked_with", "desktop_icons", "portal_menu_items", "user_perm_can_read", "contacts"),
)
DOCTYPE_HASHES: Final = (
    *("doctype_meta", "doctype_form_meta", "table_columns", "last_modified", "linked_doctypes", "notifications"),
    *("workflow", "data_import_column_header_map"),
)


def clear_cache(user: str | None = None, doctype: str | None = None) -> None:
    """Clear the cache of the current site, of one of its users, or of one DocType; shared keys stay.

    Args:
        user: clear what is kept for exactly this user.
        doctype: clear this DocType's cached documents, and what Frappe keeps about it.

    Raises:
        ValueError: both a user and a DocType are named.
    """
    if user and doctype:
        raise ValueError("Name a user or a DocType, not both.")
    cache = RedisWrapper()
    if user:
        cache.delete_keys(keys.user_prefix(user))
        cache.hdel_names(USER_HASHES, user)
    elif doctype:
        cache.delete_keys(keys.document_key(doctype, ""))
        cache.hdel_names(DOCTYPE_HASHES, doctype)
    else:
        cache.delete_keys("")
        clear_site_caches()
    request = context.current_request()
    if request is not None:
        request.results.clear()
