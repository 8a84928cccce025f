-- Gives back what a host remembers from before this reign. ARGV: reign, levels; each: kind and its numbers,
-- remembered state.
-- Answer: seconds, microseconds, the state of each level after.
local answer = { sec, micro }
for _ = 1, number() do
  local level = read_level(key(), 0)
  if level.raised then save(level) end
  answer[#answer + 1] = level.stored
end
return answer
