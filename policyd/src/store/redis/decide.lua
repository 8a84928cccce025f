-- One decision on all counters: all or nothing, as store::judge has it.
-- ARGV: reign, write 0|1, settled 0|1, counters; each: cost, levels, count_refused, dry_run, steps, each step's
-- hundredths and whether it passes; each level: allowed, ceiling, kind and its numbers, remembered state.
-- Answer: seconds, microseconds, refused, whether each counter counted, the state of each level before.
local write, settled, total_counters = number() == 1, number() == 1, number()
local counters, refused = {}, false
for at = 1, total_counters do
  local counter = { cost = number(), levels = {}, steps = {} }
  local levels = number()
  counter.count_refused, counter.dry_run = number() == 1, number() == 1
  for step = 1, number() do
    counter.steps[step] = { hundredths = number(), passes = number() == 1 }
  end
  local worst = -1
  for index = 1, levels do
    local allowed, ceiling = number(), number()
    local level = read_level(key(), counter.cost)
    level.ceiling = ceiling
    level.total = level.kind.total(level, level.counts)
    local ratio = level.total / max(allowed, 1)
    if ratio > worst then
      worst = ratio
      counter.passes = true
      if level.total > allowed then
        local holds = counter.steps[1]
        for _, step in ipairs(counter.steps) do
          if level.total * 100 > allowed * step.hundredths then holds = step end
        end
        counter.passes = holds == nil or holds.passes
      end
    end
    counter.levels[index] = level
  end
  if not counter.dry_run and not counter.passes then refused = true end
  counters[at] = counter
end
if settled then refused = false end
local answer = { sec, micro, refused and 1 or 0 }
for _, counter in ipairs(counters) do
  local counted = settled or counter.count_refused or (counter.passes and not refused)
  answer[#answer + 1] = counted and 1 or 0
  if write and counted and counter.cost > 0 then
    for _, level in ipairs(counter.levels) do
      -- What is refused is not counted without end.
      if settled or counter.passes or level.total <= level.ceiling then
        add(level)
      end
      save(level)
    end
  else
    for _, level in ipairs(counter.levels) do
      if level.raised then save(level) end
    end
  end
end
for _, counter in ipairs(counters) do
  for _, level in ipairs(counter.levels) do
    answer[#answer + 1] = level.stored
  end
end
return answer
