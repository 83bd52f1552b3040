"""The steps of a site's change log; what they are for is told in `operations.change_log`.

The log is one hash, so that eviction or a flush loses all of it at once:

============= =====================================================================================
``epoch``     a random token, made with the log
``number``    counts the changes
``reach``     the number from which on every change is still listed
``quarantine`` the server's clock, in milliseconds, until which the log is new
``began``     the run of the server in which the log was opened
``run``       the run of the server, and the database, that the document entries are of; absent until they are
``clearing``  the clock until which somebody deletes entries of another run; absent otherwise
``c:{document}`` the number at which the document last changed
``p:{document}`` the transactions about to change it, as ``token:clock token:clock``, each until its deadline
============= =====================================================================================

A document is called ``{doctype}::{name}`` here, all documents of a DocType together ``{doctype}``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from .script import Argument, Execute, Script

MOST_FIELDS: Final = 4096
KEPT_CHANGES: Final = 2048
"""A log that grows past so many fields forgets all but so many of its latest changes."""

_PRELUDE: Final = f"""
local log = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function number_of(field)
  return tonumber(redis.call('HGET', log, field) or 0)
end

local function write_marks(document, marks)
  if #marks > 0 then
    redis.call('HSET', log, 'p:' .. document, table.concat(marks, ' '))
  else
    redis.call('HDEL', log, 'p:' .. document)
  end
end

-- The marks of living transactions on a document, but for one's own. A writer that was killed may have committed: a
-- mark past its deadline counts as a change, now that it is seen.
local function other_marks(document, own)
  local held = redis.call('HGET', log, 'p:' .. document)
  local marks, lapsed = {{}}, false
  for transaction, deadline in string.gmatch(held or '', '(%w+):(%d+)') do
    if transaction == own then
    elseif tonumber(deadline) > now then
      marks[#marks + 1] = transaction .. ':' .. deadline
    else
      lapsed = true
    end
  end
  if lapsed then
    redis.call('HSET', log, 'c:' .. document, redis.call('HINCRBY', log, 'number', 1))
    write_marks(document, marks)
  end
  return marks
end

local function forget_old_changes()
  if redis.call('HLEN', log) <= {MOST_FIELDS} then return end
  local reach = number_of('number') - {KEPT_CHANGES}
  local fields = redis.call('HGETALL', log)
  for i = 1, #fields, 2 do
    local kind, rest = string.sub(fields[i], 1, 2), string.sub(fields[i], 3)
    if kind == 'c:' and tonumber(fields[i + 1]) <= reach then redis.call('HDEL', log, fields[i]) end
    if kind == 'p:' then other_marks(rest, '') end
  end
  if reach > number_of('reach') then redis.call('HSET', log, 'reach', reach) end
end
"""


class _Log:
    """The prelude in plain form."""

    def __init__(self, execute: Execute, name: bytes) -> None:
        self.execute = execute
        self.name = name
        seconds, microseconds = execute("TIME")
        self.now = int(seconds) * 1000 + int(microseconds) // 1000

    def get(self, field: bytes) -> bytes | None:
        value: bytes | None = self.execute("HGET", self.name, field)
        return value

    def number_of(self, field: bytes) -> int:
        return int(self.get(field) or 0)

    def set(self, field: bytes, value: Argument) -> None:
        self.execute("HSET", self.name, field, value)

    def write_marks(self, document: bytes, marks: list[bytes]) -> None:
        if marks:
            self.set(b"p:" + document, b" ".join(marks))
        else:
            self.execute("HDEL", self.name, b"p:" + document)

    def other_marks(self, document: bytes, own: bytes) -> list[bytes]:
        marks, lapsed = [], False
        for transaction, deadline in _MARK.findall(self.get(b"p:" + document) or b""):
            if transaction == own:
                continue
            if int(deadline) > self.now:
                marks.append(transaction + b":" + deadline)
            else:
                lapsed = True
        if lapsed:
            self.set(b"c:" + document, self.execute("HINCRBY", self.name, "number", 1))
            self.write_marks(document, marks)
        return marks

    def forget_old_changes(self) -> None:
        if self.execute("HLEN", self.name) <= MOST_FIELDS:
            return
        reach = self.number_of(b"number") - KEPT_CHANGES
        for field, value in dict(self.execute("HGETALL", self.name)).items():
            if field.startswith(b"c:") and int(value) <= reach:
                self.execute("HDEL", self.name, field)
            if field.startswith(b"p:"):
                self.other_marks(field[2:], b"")
        if reach > self.number_of(b"reach"):
            self.set(b"reach", reach)


_MARK: Final = re.compile(rb"(\w+):(\d+)")


def _read_log(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    log = _Log(execute, names[0])
    if log.get(b"epoch") is None:
        return []
    pending, changed = 0, 0
    for document in map(_bytes, arguments):
        if log.other_marks(document, b""):
            pending = 1
        changed = max(changed, log.number_of(b"c:" + document))
    quarantined = int(log.number_of(b"quarantine") > log.now)
    number, reach = log.number_of(b"number"), log.number_of(b"reach")
    began, run = log.get(b"began") or b"", log.get(b"run") or b""
    return [log.get(b"epoch"), began, run, number, reach, quarantined, pending, changed]


READ_LOG: Final = Script(
    lua=_PRELUDE
    + """
local epoch = redis.call('HGET', log, 'epoch')
if not epoch then return {} end
local pending, changed = 0, 0
for _, document in ipairs(ARGV) do
  if #other_marks(document, '') > 0 then pending = 1 end
  changed = math.max(changed, number_of('c:' .. document))
end
local function text(field) return redis.call('HGET', log, field) or '' end
return {epoch, text('began'), text('run'), number_of('number'), number_of('reach'),
        number_of('quarantine') > now and 1 or 0, pending, changed}
""",
    plain=_read_log,
)
"""Keys: log. Arguments: documents. Reply: nothing where there is no log, else epoch, the run in which it was opened,
the run that the entries are of, number, reach, whether it is in quarantine, whether a transaction is about to change
one of the documents, and the number at which the latest of them changed."""


def _open_log(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    log = _Log(execute, names[0])
    ending, epoch, quarantine, run = arguments
    if (log.get(b"epoch") or b"") != _bytes(ending):
        return 0
    execute("DEL", log.name)
    log.set(b"epoch", epoch)
    log.set(b"quarantine", log.now + int(quarantine))
    log.set(b"began", run)
    return 1


OPEN_LOG: Final = Script(
    lua=_PRELUDE
    + """
if (redis.call('HGET', log, 'epoch') or '') ~= ARGV[1] then return 0 end
redis.call('DEL', log)
redis.call('HSET', log, 'epoch', ARGV[2], 'quarantine', now + tonumber(ARGV[3]), 'began', ARGV[4])
return 1
""",
    plain=_open_log,
)
"""Keys: log. Arguments: the epoch that ends (empty where there is no log), the one that begins, milliseconds of
quarantine, the server's run. Reply: 1 opened, 0 somebody was faster."""


def _end_quarantine(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    if execute("HGET", names[0], "epoch") != _bytes(arguments[0]):
        return 0
    return execute("HDEL", names[0], "quarantine")


END_QUARANTINE: Final = Script(
    lua="""
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'quarantine')
""",
    plain=_end_quarantine,
)
"""Keys: log. Arguments: epoch. Reply: 1 its quarantine is over, 0 there was none, or there is another epoch."""


def _begin_clearing(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    log = _Log(execute, names[0])
    epoch, milliseconds = arguments
    if log.get(b"epoch") != _bytes(epoch) or log.number_of(b"clearing") > log.now:
        return 0
    log.set(b"clearing", log.now + int(milliseconds))
    return 1


BEGIN_CLEARING: Final = Script(
    lua=_PRELUDE
    + """
if redis.call('HGET', log, 'epoch') ~= ARGV[1] or number_of('clearing') > now then return 0 end
redis.call('HSET', log, 'clearing', now + tonumber(ARGV[2]))
return 1
""",
    plain=_begin_clearing,
)
"""Keys: log. Arguments: epoch, milliseconds after which the caller is taken for dead. Reply: 1 the caller is to delete
all document entries, 0 somebody else does."""


def _end_clearing(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    epoch, run = arguments
    if execute("HGET", names[0], "epoch") != _bytes(epoch):
        return 0
    execute("HDEL", names[0], "clearing")
    execute("HSET", names[0], "run", run)
    return 1


END_CLEARING: Final = Script(
    lua="""
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'clearing')
redis.call('HSET', KEYS[1], 'run', ARGV[2])
return 1
""",
    plain=_end_clearing,
)
"""Keys: log. Arguments: epoch, run. Reply: 1 all entries are of this run now, 0 another epoch has begun since."""


def _mark_pending(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    log = _Log(execute, names[0])
    transaction, milliseconds, *documents = arguments
    if log.get(b"epoch") is None:
        return 0
    mark = _bytes(transaction) + b":" + str(log.now + int(milliseconds)).encode()
    for document in map(_bytes, documents):
        log.write_marks(document, [*log.other_marks(document, _bytes(transaction)), mark])
    log.forget_old_changes()
    return 1


MARK_PENDING: Final = Script(
    lua=_PRELUDE
    + """
if redis.call('HEXISTS', log, 'epoch') == 0 then return 0 end
local mark = ARGV[1] .. ':' .. string.format('%d', now + tonumber(ARGV[2]))
for i = 3, #ARGV do
  local marks = other_marks(ARGV[i], ARGV[1])
  marks[#marks + 1] = mark
  write_marks(ARGV[i], marks)
end
forget_old_changes()
return 1
""",
    plain=_mark_pending,
)
"""Keys: log. Arguments: transaction, milliseconds to its deadline, documents. Reply: 1 marked, 0 there is no log."""


def _renew_marks(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    log = _Log(execute, names[0])
    transaction, milliseconds, *documents = arguments
    deadline = str(log.now + int(milliseconds)).encode()
    found = 0
    for document in map(_bytes, documents):
        marks = dict(_MARK.findall(log.get(b"p:" + document) or b""))
        if _bytes(transaction) in marks:
            marks[_bytes(transaction)] = deadline
            log.write_marks(document, [token + b":" + clock for token, clock in marks.items()])
            found += 1
    return found


RENEW_MARKS: Final = Script(
    lua=_PRELUDE
    + """
local deadline, found = string.format('%d', now + tonumber(ARGV[2])), 0
for i = 3, #ARGV do
  local marks, own = {}, 0
  for transaction, clock in string.gmatch(redis.call('HGET', log, 'p:' .. ARGV[i]) or '', '(%w+):(%d+)') do
    if transaction == ARGV[1] then own, clock = 1, deadline end
    marks[#marks + 1] = transaction .. ':' .. clock
  end
  if own == 1 then write_marks(ARGV[i], marks) end
  found = found + own
end
return found
""",
    plain=_renew_marks,
)
"""Keys: log. Arguments: transaction, milliseconds to its deadline, documents. Reply: on how many its mark still was."""


def _log_changes(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    log = _Log(execute, names[0])
    transaction, *documents = map(_bytes, arguments)
    if log.get(b"epoch") is None:
        return 0
    number = execute("HINCRBY", log.name, "number", 1)
    for document in documents:
        log.write_marks(document, log.other_marks(document, transaction))
        log.set(b"c:" + document, number)
    log.forget_old_changes()
    return 1


LOG_CHANGES: Final = Script(
    lua=_PRELUDE
    + """
if redis.call('HEXISTS', log, 'epoch') == 0 then return 0 end
local number = redis.call('HINCRBY', log, 'number', 1)
for i = 2, #ARGV do
  write_marks(ARGV[i], other_marks(ARGV[i], ARGV[1]))
  redis.call('HSET', log, 'c:' .. ARGV[i], number)
end
forget_old_changes()
return 1
""",
    plain=_log_changes,
)
"""Keys: log. Arguments: transaction, documents. Reply: 1 they count as changed and its marks are off, 0 no log."""


def _drop_marks(execute: Execute, names: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
    log = _Log(execute, names[0])
    transaction, *documents = map(_bytes, arguments)
    for document in documents:
        log.write_marks(document, log.other_marks(document, transaction))
    return 1


DROP_MARKS: Final = Script(
    lua=_PRELUDE
    + """
for i = 2, #ARGV do
  write_marks(ARGV[i], other_marks(ARGV[i], ARGV[1]))
end
return 1
""",
    plain=_drop_marks,
)
"""Keys: log. Arguments: transaction, documents. Reply: 1; the transaction changes none of them any more."""


def _bytes(argument: Argument) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode("utf-8", "surrogatepass")
