-- reconcile: id, lease in seconds. Repairs one job that has not ended: issues again what can no longer be delivered,
-- completes steps that were cut, schedules. Returns the control task to send again ("ingest", "assemble") or "".
-- "gone" when Redis does not know the job.
local job = load_job(A[1])
touch()
if not job then
  redis.call('SREM', P .. 'open', A[1])
  redis.call('SREM', P .. 'running', A[1])
  redis.call('ZREM', P .. 'ready', A[1])
  return 'gone'
end
if is_final(job) then
  redis.call('SREM', P .. 'open', A[1])
  redis.call('SREM', P .. 'running', A[1])
  return ''
end
redis.call('SADD', P .. 'open', job.id)
redis.call('ZADD', P .. 'jobs', 'NX', redis.call('HGET', job.key, 'created'), job.id)

if job.state == 'queued' or job.state == 'ingesting' or job.state == 'finalizing' then
  redis.call('SREM', P .. 'running', job.id)
  if tonumber(now()) - job.task_at < tonumber(A[2]) then return '' end
  redis.call('HSET', job.key, 'task_at', now())
  if job.state == 'finalizing' then return 'assemble' end
  return 'ingest'
end

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function is_after(a, b)
  local a_ms, a_seq = parts(a)
  local b_ms, b_seq = parts(b)
  return a_ms > b_ms or (a_ms == b_ms and a_seq > b_seq)
end

local delivered = {}
local function last_delivered(stream)
  if delivered[stream] == nil then
    delivered[stream] = '0-0'
    local groups = redis.pcall('XINFO', 'GROUPS', stream)
    if not groups.err then
      for _, group in ipairs(groups) do
        local facts = {}
        for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
        if facts['name'] == GROUP then delivered[stream] = facts['last-delivered-id'] end
      end
    end
  end
  return delivered[stream]
end

-- In the stream and either not yet read by the group or still pending: somebody will get it.
local function is_alive(stream, entry)
  if #redis.call('XRANGE', stream, entry, entry) == 0 then return false end
  if is_after(entry, last_delivered(stream)) then return true end
  local pending = redis.pcall('XPENDING', stream, GROUP, entry, entry, 1)
  return not pending.err and #pending > 0
end

local function is_done(stage, index)
  if stage == 'portrait' then return job.portrait_ready == 1 end
  if stage == 'encode' then
    return index < job.motion_next or redis.call('HEXISTS', job.key .. ':features', int(index)) == 1
  end
  if stage == 'motion' then return index ~= job.motion_next end
  if stage == 'render' then return index < job.front * job.hop end
  return index < job.front or redis.call('HEXISTS', job.key, 'mx:' .. int(index)) == 1
end

if job.state == 'ready' then
  redis.call('ZADD', P .. 'ready', redis.call('HGET', job.key, 'created'), job.id)
else
  redis.call('SADD', P .. 'running', job.id)
  roll_front(job)
  if job.state ~= 'running' then return '' end
end

local turns = redis.call('HGETALL', job.turns)
for i = 1, #turns, 2 do
  local unit, entry = turns[i], turns[i + 1]
  if not string.find(unit, ':tries$') then
    local stage, index = string.match(unit, '^(%a+):?(%d*)$')
    index = tonumber(index)
    if is_done(stage, index) then
      clear(job, unit)
    elseif not is_alive(stream_of(job, stage), entry) then
      issue(job, stage, index)
    end
  end
end

if job.portrait_ready ~= 1 and redis.call('HEXISTS', job.turns, 'portrait') == 0 then issue(job, 'portrait') end
if job.state == 'ready' then
  admit()
  return ''
end

local function ensure(stage, index)
  if redis.call('HEXISTS', job.turns, stage .. ':' .. int(index)) == 0 then issue(job, stage, index) end
end

for w = job.motion_next, job.encode_next - 1 do
  if redis.call('HEXISTS', job.key .. ':features', int(w)) == 0 then ensure('encode', w) end
end
for w = job.front, job.motion_next - 1 do
  if redis.call('HEXISTS', job.key, 'mx:' .. int(w)) == 0 and redis.call('HEXISTS', job.turns, 'mux:' .. int(w)) == 0 then
    for _, s in ipairs(slices(job, w)) do
      if redis.call('EXISTS', slice_key(job, s[1])) == 0 then ensure('render', s[1]) end
    end
    issue_mux_if_drawn(job, w)
  end
end
advance(job)
admit()
return ''
