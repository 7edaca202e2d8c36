-- Every script is this prelude followed by its own file. One script touches one shard: all keys share its hash tag.
--
-- KEYS[1]  routes the script to the slot; for scripts about a stream entry it is the stream
-- ARGV[1]  P, beginning of every key of the shard: "th:{0}:"
-- ARGV[2]  L, limits as JSON (shared/scripts.py, class Limits)
-- ARGV[3]  and on: what the script's own header lists
--
-- P job:ID            hash    state, options, plan, counters (absolute values, so that doing a step twice is harmless)
-- P job:ID:turns      hash    unit -> entry id, unit:tries -> n; every outstanding unit of the job
-- P job:ID:motion     hash    first frame -> rows of each slice not yet muxed
-- P job:ID:features   hash    window -> features waiting for their motion turn
-- P job:ID:window     hash    window -> state the motion model needs to start it (two newest)
-- P job:ID:slice:F    string  encoded frames of the slice that begins at frame F
-- P job:ID:events     stream  kind = state | slice | progress
-- P jobs              zset    every known job by creation time
-- P open              set     jobs that have not ended
-- P ready             zset    jobs waiting for admission, by creation time
-- P running           set     admitted jobs
-- P portrait:DIGEST   string  prepared appearance
-- P STAGE:BUNDLE, P mux  streams of work, one group; P dead  stream of dead letters
--
-- Rules. Check arguments before the first write: an error leaves earlier writes in place. The first write of a script
-- is a command that cannot grow memory (XACK, XCLAIM, UNLINK, HDEL, even of nothing), then a full Redis lets the rest
-- pass. The order of writes is such that a script cut in the middle leaves a state `reconcile` can complete.

local P, L = ARGV[1], cjson.decode(ARGV[2])
local A = {unpack(ARGV, 3)}
local GROUP = L.group

local TEXT_FIELDS = {'state', 'bundle', 'portrait_digest'}
local NUMBER_FIELDS = {'n_frames', 'n_windows', 'hop', 'slice_first', 'slice_next', 'encode_next', 'motion_next',
  'portrait_ready', 'front', 'muxed', 'tail', 'task_at'}

local function int(value)
  return string.format('%d', value)
end

local function now()
  local t = redis.call('TIME')
  return string.format('%d.%06d', tonumber(t[1]), tonumber(t[2]))
end

-- A first write that changes nothing: see the rules above.
local function touch()
  redis.call('UNLINK', P .. 'nothing')
end

local function load_job(id)
  local job = {id = id, key = P .. 'job:' .. id}
  local text = redis.call('HMGET', job.key, unpack(TEXT_FIELDS))
  if not text[1] then return nil end
  for i, name in ipairs(TEXT_FIELDS) do job[name] = text[i] end
  local numbers = redis.call('HMGET', job.key, unpack(NUMBER_FIELDS))
  for i, name in ipairs(NUMBER_FIELDS) do job[name] = tonumber(numbers[i] or '0') end
  job.turns = job.key .. ':turns'
  return job
end

local function slice_key(job, first)
  return job.key .. ':slice:' .. int(first)
end

local function stream_of(job, stage)
  if stage == 'mux' then return P .. 'mux' end
  return P .. stage .. ':' .. job.bundle
end

local function is_final(job)
  return job.state == 'succeeded' or job.state == 'failed' or job.state == 'canceled' or job.state == 'expired'
end

-- Units are worked on while the job runs; the portrait also while it waits for admission.
local function is_active(job, stage)
  return job.state == 'running' or (stage == 'portrait' and job.state == 'ready')
end

local function holds(job, unit, entry)
  return redis.call('HGET', job.turns, unit) == entry
end

local function clear(job, unit)
  redis.call('HDEL', job.turns, unit, unit .. ':tries')
end

local function release(stream, entry)
  local acked = redis.call('XACK', stream, GROUP, entry)
  redis.call('XDEL', stream, entry)
  return acked
end

local function event(job, kind, ...)
  redis.call('XADD', job.key .. ':events', 'MAXLEN', '~', int(L.max_events), '*', 'kind', kind, ...)
end

local function dead_letter(id, unit, stream, entry, reason)
  redis.call('XADD', P .. 'dead', 'MAXLEN', '~', int(L.max_dead), '*',
    'job', id, 'unit', unit, 'stream', stream, 'entry', entry, 'reason', reason)
end

local function issue(job, stage, index)
  local unit = stage
  if index then unit = stage .. ':' .. int(index) end
  local entry = redis.call('XADD', stream_of(job, stage), '*', 'v', int(L.version), 'job', job.id, 'unit', unit)
  redis.call('HSET', job.turns, unit, entry)
end

local function set_state(job, state, ...)
  job.state = state
  redis.call('HSET', job.key, 'state', state, 'progress_at', now(), ...)
  event(job, 'state', 'state', state)
end

-- Slices of window w as {first, n}, the same cut as shared/timeline.py.
local function slices(job, w)
  local size = job.slice_next
  if w == 0 then size = job.slice_first end
  local found = {}
  local stop = math.min((w + 1) * job.hop, job.n_frames)
  for first = w * job.hop, stop - 1, size do
    found[#found + 1] = {first, math.min(size, stop - first)}
  end
  return found
end

local function generated(job)
  return math.min(job.motion_next * job.hop, job.n_frames)
end

-- Frames drawn: what motion made less what is still outstanding.
local function rendered(job)
  local n = generated(job)
  for w = job.front, job.motion_next - 1 do
    for _, s in ipairs(slices(job, w)) do
      if redis.call('HEXISTS', job.turns, 'render:' .. int(s[1])) == 1 then n = n - s[2] end
    end
  end
  return n
end

local function progress(job)
  local n = rendered(job)
  redis.call('HSET', job.key, 'rendered', int(n), 'progress_at', now())
  event(job, 'progress', 'rendered', int(n), 'muxed', int(job.muxed), 'total', int(job.n_frames))
end

-- Delete slices that end at or before keep_from; tail is the first frame kept.
local function drop_slices(job, keep_from)
  local frame = job.tail
  while frame < job.n_frames do
    local w = math.floor(frame / job.hop)
    local size = job.slice_next
    if w == 0 then size = job.slice_first end
    local stop = math.min(frame + size, (w + 1) * job.hop, job.n_frames)
    if stop > keep_from then break end
    redis.call('UNLINK', slice_key(job, frame))
    frame = stop
  end
  if frame ~= job.tail then
    job.tail = frame
    redis.call('HSET', job.key, 'tail', int(frame))
  end
end

-- Windows a job may have generated and not muxed: running jobs share the budget, so that none queues far ahead of others.
local function window_share()
  local n_running = math.max(1, redis.call('SCARD', P .. 'running'))
  return math.max(1, math.ceil(L.window_budget / n_running))
end

-- The one scheduler. Idempotent; called whenever something may have become possible.
local function advance(job)
  if job.state ~= 'running' then return end
  while job.encode_next < job.n_windows and job.encode_next - job.motion_next < L.encode_ahead do
    issue(job, 'encode', job.encode_next)
    job.encode_next = job.encode_next + 1
    redis.call('HSET', job.key, 'encode_next', int(job.encode_next))
  end
  local w = job.motion_next
  if w < job.n_windows and job.portrait_ready == 1
    and generated(job) - job.muxed < window_share() * job.hop
    and redis.call('HEXISTS', job.turns, 'motion:' .. int(w)) == 0
    and redis.call('HEXISTS', job.key .. ':features', int(w)) == 1 then
    issue(job, 'motion', w)
  end
end

-- Let the oldest waiting jobs run while there is room.
local function admit()
  while redis.call('SCARD', P .. 'running') < L.max_running do
    local oldest = redis.call('ZPOPMIN', P .. 'ready')
    if #oldest == 0 then return end
    local job = load_job(oldest[1])
    if job and job.state == 'ready' then
      redis.call('SADD', P .. 'running', job.id)
      set_state(job, 'running', 'started_at', now())
      advance(job)
    end
  end
end

local function drop_work(job)
  redis.call('UNLINK', job.turns, job.key .. ':features', job.key .. ':motion', job.key .. ':window')
  redis.call('SREM', P .. 'running', job.id)
end

-- The end of a job: its work goes, its record and the last frames stay for a while.
local function end_job(job, state, problem)
  drop_work(job)
  redis.call('ZREM', P .. 'ready', job.id)
  redis.call('SREM', P .. 'open', job.id)
  set_state(job, state, 'ended_at', now(), 'error', problem or '')
  for w = math.floor(job.tail / math.max(job.hop, 1)), job.motion_next - 1 do
    for _, s in ipairs(slices(job, w)) do redis.call('EXPIRE', slice_key(job, s[1]), int(L.ended_slice_ttl_s)) end
  end
  redis.call('EXPIRE', job.key .. ':events', int(L.job_ttl_s))
  redis.call('EXPIRE', job.key, int(L.job_ttl_s))
  admit()
end

-- Count the windows muxed without a hole; the last one makes the job finalizing.
local function roll_front(job)
  local first = job.front
  while redis.call('HEXISTS', job.key, 'mx:' .. int(job.front)) == 1 do job.front = job.front + 1 end
  if job.front > first then
    job.muxed = math.min(job.front * job.hop, job.n_frames)
    redis.call('HSET', job.key, 'front', int(job.front), 'muxed', int(job.muxed))
    for w = first, job.front - 1 do
      redis.call('HDEL', job.key, 'mx:' .. int(w))
      for _, s in ipairs(slices(job, w)) do redis.call('HDEL', job.key .. ':motion', int(s[1])) end
    end
    drop_slices(job, job.muxed - L.viewer_tail_frames)
  end
  if job.n_frames > 0 and job.muxed == job.n_frames and job.state == 'running' then
    progress(job)
    drop_work(job)
    set_state(job, 'finalizing', 'task_at', now())
    admit()
  end
end

local function issue_mux_if_drawn(job, w)
  for _, s in ipairs(slices(job, w)) do
    if redis.call('HEXISTS', job.turns, 'render:' .. int(s[1])) == 1 then return end
  end
  if redis.call('HEXISTS', job.turns, 'mux:' .. int(w)) == 0 then issue(job, 'mux', w) end
end
